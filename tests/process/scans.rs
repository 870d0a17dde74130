//! The loop never goes through all descriptors, which takes milliseconds if there are thousands.
//! The test observes the system calls of its thread.

use std::process::Command;
use std::{env, fs};

use crate::client::Client;
use crate::server::{PATIENCE, Server, until, veche};
use crate::wire::{Wire, get};

/// Clients that reconnect from the port of a connection that has ended.
const TIMES: usize = 10;
/// The call that returns the peer of a descriptor.
const CALL: &str = "getpeername";

#[test]
fn the_loop_does_not_search_for_a_client_from_a_reused_port() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(env::var_os("CI").is_none(), "there is no strace");
        eprintln!("not run: there is no strace");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let mut command = Command::new("strace");
    // The process is the server's own; each of its threads has a file.
    command.args(["-D", "-ff", "-q", "-e", &format!("trace={CALL}"), "-o"]).arg(&trace);
    command.arg(veche().get_program());
    command.args(["--listen", "127.0.0.1:0", "--store", "memory"]);
    let server = Server::spawn(&mut command, dir.path());
    let ann = Client::signed_up(&server, "ann");
    let (mut came, addr) = (0, server.addr());
    for _ in 0..10 * TIMES {
        let mut old = Wire::connect(addr);
        let port = old.local_addr();
        // It is not clear where the body ends, so the connection ends.
        old.send("POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n");
        assert_eq!(old.answer().status, 400);
        assert!(old.is_closed());
        old.reset();
        // Another program may have taken the port.
        let Some(mut new) = Wire::connect_from(port, addr) else { continue };
        new.send(get(&ann, "/api/users/me"));
        assert_eq!(new.answer().status, 200);
        came += 1;
        if came == TIMES {
            break;
        }
    }
    assert_eq!(came, TIMES, "no port can be had again");
    let of_loop = trace.with_extension(server.pid().as_raw_nonzero().to_string());
    server.stop();
    let is_whole = || fs::read_to_string(&of_loop).ok().filter(|it| it.contains("exited with"));
    let calls = until(PATIENCE, is_whole).expect("the thread was traced to its end");
    assert_eq!(calls.matches(CALL).count(), 0, "{calls}");
    // Another thread made the call, so the trace does record it.
    let all = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    assert!(all.filter(|path| path.is_file()).map(read).any(|calls| calls.contains(CALL)));
}
