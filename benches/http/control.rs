//! The control: a run that has to fail.
//!
//! `tiny_http` can starve a connection, and wrk alone would not notice it. So every run of the
//! bench first shows that the bench would.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::Result;
use crate::wrk::{Load, Refused, Wrk};

/// An error unless a run in which one connection is never answered is refused for that reason.
pub(crate) fn notices_one_unserved_connection(dir: &Path, tokens: &Path) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || serve_all_but_one(&listener));

    let outcome = Wrk::new(dir, 1)?.run(address, tokens, &Load::NEWEST);
    let Err(error) = outcome else {
        return Err("a run with an unserved connection passed for a good one".into());
    };
    match error.downcast_ref() {
        Some(Refused::Unserved { unserved: 1 }) => Ok(()),
        _ => Err(format!(
            "a run with one unserved connection was refused for another reason: {error}"
        )
        .into()),
    }
}

fn serve_all_but_one(listener: &TcpListener) {
    let ignored = Arc::new(AtomicBool::new(false));
    for connection in listener.incoming().flatten() {
        let ignored = Arc::clone(&ignored);
        thread::spawn(move || serve(connection, &ignored));
    }
}

/// Answers everything, except on the first connection with a request. (Not the first connection:
/// wrk opens one to see whether there is a server, and closes it again.)
fn serve(mut connection: TcpStream, ignored: &AtomicBool) {
    let mut request = [0; 2048];
    let mut answers = None;
    while matches!(connection.read(&mut request), Ok(len) if len > 0) {
        let answers = *answers.get_or_insert_with(|| ignored.swap(true, Ordering::Relaxed));
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
        if answers && connection.write_all(answer).is_err() {
            return;
        }
    }
}
