use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::api::App;
use crate::http::{self, Server};
use crate::model::{StoreId, Timestamp, UserId, Username};
use crate::store::{Backend, MemoryStore, NewUser};
use crate::sys::SteppedClock;

const BEGUN: u64 = 1_767_323_045_678;
/// Time for an expected event.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs `clients` with a server's address, the operator's address, a token and the clock. Nothing
/// else sends requests.
fn serve(clients: impl FnOnce(SocketAddr, SocketAddr, &str, &SteppedClock)) {
    let at = Timestamp::from_millis(BEGUN);
    let mut store = MemoryStore::new(StoreId(1));
    let name = Username::parse("ann").unwrap();
    store.create_user(NewUser { name, password_hash: "-".into(), created_at: at }).unwrap();
    let clock = SteppedClock::at(at);
    let app_clock = Box::new(clock.clone());
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = http::ServerSettings { admin: Some(local), ..http::ServerSettings::default() };
    let server = Server::bind(local, settings).unwrap();
    let (addr, admin) = (server.local_addr(), server.admin_addr().unwrap());
    let stopper = server.stopper();
    // The app stays on its thread, which sends the token.
    let (sender, token) = std::sync::mpsc::channel();
    let run = thread::spawn(move || {
        let mut app = App::timed_for_tests(Box::new(store), app_clock);
        sender.send(app.token_for_tests(UserId::FIRST)).unwrap();
        server.run(app)
    });
    clients(addr, admin, &token.recv().unwrap(), &clock);
    stopper.stop();
    run.join().unwrap().unwrap();
}

/// Sends a request with the rest of its request line and fields.
fn ask(addr: SocketAddr, token: &str, rest: &str) -> BufReader<TcpStream> {
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(client, "GET {rest}\r\nAuthorization: {token}\r\n\r\n").unwrap();
    BufReader::new(client)
}

fn metrics(admin: SocketAddr) -> String {
    let mut client = ask(admin, "-", "/metrics HTTP/1.0");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("metrics");
    answer
}

fn line(client: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    client.read_line(&mut line).expect("something within a minute");
    line
}

/// The clock steps, as after a suspension, while no request arrives.
#[test]
fn held_requests_and_streams_end_with_their_token() {
    serve(|addr, admin, token, clock| {
        let mut stream =
            ask(addr, token, "/api/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream");
        while !line(&mut stream).starts_with("id: -1") {}
        let mut waits = ask(addr, token, "/api/messages?after=-1&wait=60 HTTP/1.1\r\nHost: x");
        let begun = Instant::now();
        while !metrics(admin).contains("\nveche_parked 1\n") {
            assert!(begun.elapsed() < PATIENCE, "it is not held");
            thread::sleep(Duration::from_millis(10));
        }
        clock.set(Timestamp::from_millis(BEGUN + 2 * 3600 * 1000));
        let (stepped, mut rest) = (Instant::now(), String::new());
        while let line = line(&mut stream)
            && !line.is_empty()
        {
            assert!(stepped.elapsed() < PATIENCE, "the stream outlives its token");
            rest = line;
        }
        assert_eq!(rest, "\r\n", "the last chunk, and the end of the connection");
        assert!(line(&mut waits).starts_with("HTTP/1.1 401"));
    });
}
