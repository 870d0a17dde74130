//! Posts many messages at little cost to itself: a long history has a million of them, and several
//! are written.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::wrk::Load;

/// Connections that post at the same time.
const POSTERS: u64 = 8;
/// Messages sent before the answers to them are read.
const BATCH: u64 = 32;
/// The longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest time for all messages of one server.
const POST_WITHIN: Duration = Duration::from_mins(5);
/// The longest answer that is read.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Posts `count` messages to the server at `address`. An error if a single one was not accepted.
pub(crate) fn post(address: SocketAddr, token: &str, count: u64) -> Result<()> {
    let Load { path, body, .. } = Load::post();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let deadline = Instant::now() + POST_WITHIN;
    let post = |share| post_share(address, &request, share, deadline);
    thread::scope(|scope| {
        let posters: Vec<_> = (0..POSTERS)
            .map(|number| count / POSTERS + u64::from(number < count % POSTERS))
            .map(|share| scope.spawn(move || post(share)))
            .collect();
        posters
            .into_iter()
            .try_for_each(|poster| poster.join().map_err(|_| "a thread that posts panicked")?)
    })
}

fn post_share(address: SocketAddr, request: &str, share: u64, deadline: Instant) -> Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let mut answers = BufReader::new(connection.try_clone()?);
    let mut left = share;
    while left > 0 {
        if Instant::now() > deadline {
            return Err(format!("the messages were not posted within {POST_WITHIN:?}").into());
        }
        let batch = left.min(BATCH);
        connection.write_all(request.repeat(batch.try_into()?).as_bytes())?;
        for _ in 0..batch {
            accepted(&mut answers)?;
        }
        left -= batch;
    }
    Ok(())
}

/// Reads one answer; an error unless it is a 201.
fn accepted(answers: &mut impl BufRead) -> Result<()> {
    let mut answer = answers.take(MAX_ANSWER_BYTES);
    let mut line = String::new();
    answer.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 201") {
        return Err(format!("a message was answered {line:?}").into());
    }
    let mut length = None;
    loop {
        line.clear();
        answer.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = Some(value.parse()?);
            }
            Some(_) => {}
            None => break,
        }
    }
    let length: u64 = length.ok_or("an answer has no Content-Length")?;
    match io::copy(&mut answer.take(length), &mut io::sink())? {
        read if read == length => Ok(()),
        _ => Err("an answer ended early".into()),
    }
}
