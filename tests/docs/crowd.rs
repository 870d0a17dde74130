//! Clients that keep a server's readers busy: they announce a body and do not send it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

/// More than the server reads at once (128) and lets wait (256).
const SIZE: usize = 128 + 256 + 8;
/// How long they may take to fill it.
const DEADLINE: Duration = Duration::from_secs(20);

/// The connections. They end on drop.
pub(crate) struct Crowd(Vec<TcpStream>);

impl Crowd {
    /// Returns when somebody is turned away: from then on there is room for nobody.
    pub(crate) fn gather(port: u16) -> Crowd {
        raise_descriptor_limit();
        let mut crowd = Crowd(Vec::with_capacity(SIZE));
        let (sender, answers) = channel();
        for _ in 0..SIZE {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            write!(client, "POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n")
                .unwrap();
            let (mut reader, sender) = (client.try_clone().unwrap(), sender.clone());
            thread::spawn(move || {
                let mut status = [0; 12];
                if reader.read_exact(&mut status).is_ok() {
                    let _ = sender.send(status);
                }
            });
            crowd.0.push(client);
        }
        assert_eq!(&answers.recv_timeout(DEADLINE).unwrap(), b"HTTP/1.1 503");
        crowd
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for client in &self.0 {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

/// Both ends of all connections are in this process, on both stores at once: more descriptors than
/// the 1,024 that a process usually starts with.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}
