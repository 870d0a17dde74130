//! A disk that does not answer, and so a loop that does not.

use std::time::Duration;

use crate::client::{Client, PASSWORD, credentials};
use crate::server::{Server, until};
use crate::strace::{is_missing, strace};

/// After 30 s without an answer to itself the server should stop, and 10 s later it should be
/// ended.
const PATIENCE: Duration = Duration::from_mins(3);

/// It logs that and ends with a failure rather than stay without serving anyone.
#[test]
fn a_server_that_hangs_ends_itself() {
    if is_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Longer than the server waits. While strace holds one of its threads, it cannot end.
    let inject = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=50000000:when=2+"];
    let mut command = strace(&dir.path().join("trace"), inject);
    command.args(["--listen=127.0.0.1:0", "--data-dir"]).arg(dir.path().join("data"));
    let mut server = Server::spawn(&mut command, dir.path());
    let client = Client::new(&server);
    // Whichever of these waits for the disk, nothing is acknowledged.
    let told = std::thread::scope(|scope| {
        let client = &client;
        let register = move |name| {
            let body = credentials(name, PASSWORD).to_string();
            let answer = client.post_as("/register", "application/json", body.as_bytes());
            answer.is_ok_and(|answer| answer.status == 201)
        };
        let asking = scope.spawn(move || ["ann", "bob", "eve"].map(register));
        let ended = until(PATIENCE, || (!server.is_alive()).then_some(()));
        ended.expect("the server ends itself");
        asking.join().expect("a client")
    });
    assert!(told.contains(&false), "the disk never hung: {told:?}");
    let log = server.log();
    assert!(log.contains("veche: the server hangs"), "{log}");
    assert_eq!(server.wait().0, Some(1));
}
