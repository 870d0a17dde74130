//! Crowds of clients that use up a resource of the server.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

/// The server reads 128 at once and lets 256 wait. As many again as it reads are refused, and ask
/// again, so that they take the places of those that it cuts off.
const SENDERS: usize = 128 + 256 + 128;
/// The pause before a client that was refused asks again.
const PAUSE: Duration = Duration::from_millis(10);
/// More than may wait for one user.
const WAITERS: usize = 32 + 1;
/// The longest time to use it up.
const DEADLINE: Duration = Duration::from_mins(2);

/// The connections. They end on drop.
pub(crate) struct Crowd {
    clients: Arc<Clients>,
    /// Bytes sent before the end, if the end alone would not be noticed at once.
    goodbye: &'static str,
}

/// Clients that all send the same request.
struct Clients {
    port: u16,
    request: String,
    /// True if a client that is cut off, or refused, comes again.
    comes_again: bool,
    connections: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

impl Crowd {
    /// Keeps the server's readers busy: the clients announce a body and do not send it. On a busy
    /// machine the server may cut them off before the example runs, so they come again.
    pub(crate) fn of_senders(port: u16) -> Crowd {
        let request = "POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n";
        Crowd::gather(Clients::new(port, request.to_owned(), true), SENDERS, 503, "")
    }

    /// Waits for messages that do not come.
    pub(crate) fn of_waiters(port: u16, token: &str) -> Crowd {
        let request = format!(
            "GET /api/users/me/messages?with=9007199254740991&after=-1&wait=60 HTTP/1.1\r\n\
             Host: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        // Another request ends a wait.
        let goodbye = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        Crowd::gather(Clients::new(port, request, false), WAITERS, 429, goodbye)
    }

    /// Returns when a client is refused with this status: from then on there is no free place.
    fn gather(clients: Clients, size: usize, refusal: u16, goodbye: &'static str) -> Crowd {
        raise_descriptor_limit();
        let crowd = Crowd { clients: Arc::new(clients), goodbye };
        let (sender, answers) = channel();
        for number in 0..size {
            let client = crowd.clients.ask();
            let reader = client.try_clone().unwrap();
            crowd.clients.connections.lock().unwrap().push(client);
            let (clients, sender) = (Arc::clone(&crowd.clients), sender.clone());
            thread::spawn(move || clients.hear(number, reader, &sender));
        }
        let answer = answers.recv_timeout(DEADLINE).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {refusal}"));
        crowd
    }
}

impl Clients {
    fn new(port: u16, request: String, comes_again: bool) -> Clients {
        let (connections, is_over) = (Mutex::default(), AtomicBool::new(false));
        Clients { port, request, comes_again, connections, is_over }
    }

    fn ask(&self) -> TcpStream {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        // It may be cut off already.
        let _ = client.write_all(self.request.as_bytes());
        client
    }

    /// Reports the answers to one of them, and has it come again.
    fn hear(&self, number: usize, mut reader: TcpStream, answers: &Sender<[u8; 12]>) {
        let mut status = [0; 12];
        loop {
            if reader.read_exact(&mut status).is_ok() {
                // The receiver may have gone.
                let _ = answers.send(status);
                thread::sleep(PAUSE);
            }
            let mut connections = self.connections.lock().unwrap();
            if !self.comes_again || self.is_over.load(Ordering::SeqCst) {
                return;
            }
            connections[number] = self.ask();
            reader = connections[number].try_clone().unwrap();
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let mut connections = self.clients.connections.lock().unwrap();
        self.clients.is_over.store(true, Ordering::SeqCst);
        for client in connections.iter_mut() {
            let _ = client.write_all(self.goodbye.as_bytes());
        }
        for client in connections.iter_mut() {
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
