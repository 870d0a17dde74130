//! A disk that does not answer, and so a loop that does not.

use std::sync::Mutex;
use std::time::Duration;

use crate::clients::{Client, Ledger};
use crate::server::{Server, until};
use crate::stage::directory;
use crate::strace::{is_missing, strace};

/// After 30 s without an answer to itself the server is to stop, and 10 s later to be ended.
const PATIENCE: Duration = Duration::from_mins(2);

/// It says so and ends with a failure rather than stay there for nobody.
#[test]
fn a_server_that_hangs_ends_itself() {
    if is_missing() {
        return;
    }
    let dir = directory();
    // Longer than the server waits. As long as strace holds one of its threads, it cannot end.
    let inject = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=50000000:when=2+"];
    let mut command = strace(&dir.path().join("trace"), inject);
    command.args(["--listen=127.0.0.1:0", "--data-dir"]).arg(dir.path().join("data"));
    let mut server = Server::spawn(&mut command, dir.path());
    let ledger = Mutex::new(Ledger::default());
    let client = Client::new(server.addr());
    // Whichever of these waits for the disk, nobody is told that it is done.
    let told = std::thread::scope(|scope| {
        let asking =
            scope.spawn(|| ["ann", "bob", "eve"].map(|name| client.register(name, &ledger)));
        let ended = until(PATIENCE, || (!server.is_alive()).then_some(()));
        ended.expect("the server ends itself");
        asking.join().expect("a client")
    });
    assert!(told.contains(&None), "the disk never hung: {told:?}");
    let log = server.log();
    assert!(log.contains("veche: the server hangs"), "{log}");
    assert_eq!(server.wait().0, Some(1));
}
