//! Clients that use up what there is of something.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

/// More than the server reads at once (128) and lets wait (256).
const SENDERS: usize = 128 + 256 + 8;
/// More than may wait for one user.
const WAITERS: usize = 32 + 1;
/// How long they may take to use it up.
const DEADLINE: Duration = Duration::from_mins(2);

/// The connections. They end on drop.
pub(crate) struct Crowd {
    clients: Vec<TcpStream>,
    /// What they say before they go, if their going would not be noticed at once.
    goodbye: &'static str,
}

impl Crowd {
    /// Keeps the server's readers busy: they announce a body and do not send it.
    pub(crate) fn of_senders(port: u16) -> Crowd {
        let request = "POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n";
        Crowd::gather(port, SENDERS, request, 503, "")
    }

    /// Waits for messages that do not come.
    pub(crate) fn of_waiters(port: u16, token: &str) -> Crowd {
        let request = format!(
            "GET /api/users/me/messages?with=9007199254740991&after=-1&wait=60 HTTP/1.1\r\n\
             Host: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        // Asking for something else ends a wait.
        let goodbye = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        Crowd::gather(port, WAITERS, &request, 429, goodbye)
    }

    /// Returns when somebody is turned away with this status: from then on there is room for
    /// nobody.
    fn gather(port: u16, size: usize, request: &str, refusal: u16, goodbye: &'static str) -> Crowd {
        raise_descriptor_limit();
        let mut crowd = Crowd { clients: Vec::with_capacity(size), goodbye };
        let (sender, answers) = channel();
        for _ in 0..size {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            client.write_all(request.as_bytes()).unwrap();
            let (mut reader, sender) = (client.try_clone().unwrap(), sender.clone());
            thread::spawn(move || {
                let mut status = [0; 12];
                if reader.read_exact(&mut status).is_ok() {
                    let _ = sender.send(status);
                }
            });
            crowd.clients.push(client);
        }
        let answer = answers.recv_timeout(DEADLINE).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {refusal}"));
        crowd
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for client in &mut self.clients {
            let _ = client.write_all(self.goodbye.as_bytes());
        }
        for client in &mut self.clients {
            if !self.goodbye.is_empty() {
                let _ = client.set_read_timeout(Some(DEADLINE));
                let _ = client.read_to_end(&mut Vec::new());
            }
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
