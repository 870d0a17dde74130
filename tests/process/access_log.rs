//! The access log.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::admin::figure;
use crate::client::{Client, PASSWORD};
use crate::server::{PATIENCE, Server, until};
use crate::wire::Wire;

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until the file has this many lines.
fn wait_for(file: &Path, count: usize) -> Vec<Value> {
    let found = until(PATIENCE, || Some(lines(file)).filter(|lines| lines.len() >= count));
    found.unwrap_or_else(|| panic!("{count} lines are not there: {:?}", lines(file)))
}

fn started(dir: &Path, file: &Path) -> Server {
    Server::start_with("memory", dir, &["--access-log", file.to_str().unwrap()])
}

#[test]
fn each_answer_is_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.log");
    let server = started(dir.path(), &file);
    let ann = Client::signed_up(&server, "ann");
    ann.say("a secret of ann's");
    ann.get("/api/users?username=somebody-sought");
    ann.get("/password-in-the-wrong-place");
    let mut wire = Wire::connect(server.addr());
    wire.send("GET /problems HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine-7\r\n\r\n");
    wire.answer();
    let lines = wait_for(&file, 6);
    let brief: Vec<String> = lines
        .iter()
        .map(|line| {
            let [method, route, status, user] =
                ["method", "route", "status", "user"].map(|name| line[name].to_string());
            format!("{method} {route} {status} {user}").replace('"', "")
        })
        .collect();
    assert_eq!(
        brief,
        [
            "POST /register 201 null",
            "POST /login 200 null",
            "POST /api/messages 201 1",
            "GET /api/users 200 1",
            "GET null 404 null",
            "GET /problems 200 null",
        ]
    );
    assert_eq!(lines[5]["id"], "mine-7");
    assert_eq!(lines[0]["client"], "127.0.0.1");
    assert!(lines.iter().all(|line| line["micros"].as_u64().is_some_and(|micros| micros > 0)));
    assert!(lines.iter().all(|line| line["bytes"].as_u64().is_some_and(|bytes| bytes > 0)));
    let text = fs::read_to_string(&file).unwrap();
    for secret in ["secret", PASSWORD, ann.token(), "sought", "wrong-place"] {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
    server.stop();
}

#[test]
fn a_file_that_was_moved_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.log");
    let server = started(dir.path(), &file);
    let client = Client::new(&server);
    client.get("/problems");
    wait_for(&file, 1);
    fs::rename(&file, dir.path().join("access.log.1")).unwrap();
    let begun = until(PATIENCE, || {
        client.get("/problems");
        file.exists().then_some(())
    });
    begun.expect("another file is begun");
    server.stop();
    assert!(!lines(&file).is_empty());
}

/// Lines that are queued when the server stops are written.
#[test]
fn the_last_line_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.log");
    let server = started(dir.path(), &file);
    let client = Client::new(&server);
    for _ in 0..500 {
        client.get("/problems/forbidden");
    }
    server.stop();
    assert_eq!(lines(&file).len(), 500);
}

#[test]
fn a_log_that_cannot_be_written_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = crate::server::veche();
    command.args(["--listen=127.0.0.1:0", "--store=memory", "--access-log"]).arg(dir.path());
    let output = crate::server::run(&mut command);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("veche: cannot write the access log: "), "{stderr}");
}

/// Each answer is a line or is counted, also answers that waited for a full disk to have space
/// again.
#[test]
fn lines_lost_by_a_failing_file_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.log");
    std::os::unix::fs::symlink("/dev/full", &file).unwrap();
    let args = ["--admin-listen", "127.0.0.1:0", "--access-log", file.to_str().unwrap()];
    let server = Server::start_with("memory", dir.path(), &args);
    let client = Client::new(&server);
    let mut answers = 0;
    let mut ask = |times: usize| {
        for _ in 0..times {
            client.get("/problems/forbidden");
            answers += 1;
        }
        answers
    };
    // More than is held back, and then a few that are held back.
    ask(200);
    fs::rename(&file, dir.path().join("access.log.1")).unwrap();
    let begun = until(PATIENCE, || {
        ask(1);
        file.exists().then_some(())
    });
    begun.expect("another file is begun");
    let answers = ask(1);
    let admin = server.admin_addr();
    let dropped = || figure(admin, "veche_access_log_dropped_total").unwrap();
    let accounted = until(PATIENCE, || {
        let written = u32::try_from(lines(&file).len()).unwrap();
        let missing = f64::from(answers) - f64::from(written) - dropped();
        (missing.abs() < 0.5).then_some(())
    });
    assert!(accounted.is_some(), "{} + {} of {answers}", lines(&file).len(), dropped());
    let log = server.log();
    assert_eq!(log.matches("writing the access log failed").count(), 1, "{log}");
    server.stop();
}

/// The server does not wait for a log that cannot be written: here it is a pipe that nobody reads.
#[test]
fn a_log_that_does_not_keep_up_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    // Held open, so that opening it for writing does not wait for a reader.
    let held = fs::File::options().read(true).write(true).open(&fifo).unwrap();
    let args = ["--admin-listen", "127.0.0.1:0", "--access-log", fifo.to_str().unwrap()];
    let server = Server::start_with("memory", dir.path(), &args);
    let mut wire = Wire::connect(server.addr());
    // More than the pipe and the queue hold.
    for _ in 0..400 {
        wire.send("GET /problems/forbidden HTTP/1.1\r\nHost: x\r\n\r\n".repeat(40));
        for _ in 0..40 {
            assert_eq!(wire.answer().status, 200);
        }
    }
    let dropped = figure(server.admin_addr(), "veche_access_log_dropped_total");
    assert!(dropped.is_some_and(|lines| lines > 0.0), "{dropped:?}");
    drop(held);
    server.stop();
}

fn counted(admin: SocketAddr, name: &str) -> f64 {
    figure(admin, name).unwrap_or_default()
}

/// A failure to open the file is logged once, counted and tried again, and the old file goes on.
#[test]
fn a_file_that_cannot_be_begun_anew_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (file, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let args = ["--admin-listen", "127.0.0.1:0", "--access-log", file.to_str().unwrap()];
    let server = Server::start_with("memory", dir.path(), &args);
    let (client, admin) = (Client::new(&server), server.admin_addr());
    let mut answers = 0;
    let mut ask = || {
        client.get("/problems/forbidden");
        answers += 1;
        answers
    };
    ask();
    wait_for(&file, 1);
    fs::rename(&file, &moved).unwrap();
    fs::create_dir(&file).unwrap();
    let errors = || counted(admin, "veche_access_log_errors_total");
    let asked = until(PATIENCE, || Some(ask()).filter(|_| errors() >= 2.0));
    assert!(asked.is_some(), "{} errors", errors());
    let log = server.log();
    assert_eq!(log.matches("cannot open the access log").count(), 1, "{log}");
    assert!(log.contains("lines go to the old one until then"), "{log}");
    fs::remove_dir(&file).unwrap();
    let begun = until(PATIENCE, || {
        ask();
        file.is_file().then_some(())
    });
    begun.expect("another file is begun");
    let answers = ask();
    assert!(server.log().contains("the access log was opened"), "{}", server.log());
    server.stop();
    assert_eq!(lines(&file).len() + lines(&moved).len(), answers);
}

/// The server never waits for the reader of a pipe, neither the first nor a later one.
#[test]
fn a_pipe_is_written_while_somebody_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let args = ["--admin-listen", "127.0.0.1:0", "--access-log", fifo.to_str().unwrap()];
    let server = Server::start_with("memory", dir.path(), &args);
    let (client, admin) = (Client::new(&server), server.admin_addr());
    let dropped = || counted(admin, "veche_access_log_dropped_total");
    for _ in 0..2 {
        // More than is held back while nobody reads.
        let before = dropped();
        let lost = until(PATIENCE, || {
            client.get("/problems/forbidden");
            (dropped() > before).then_some(())
        });
        assert!(lost.is_some(), "what nobody reads is dropped and counted");
        let reader = fs::File::open(&fifo).unwrap();
        client.get("/problems/conflict");
        // The rest of a line that was cut short when the last reader went may come first.
        let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.starts_with('{') && line.ends_with('}')));
    }
    client.get("/problems/forbidden");
    let log = server.log();
    assert_eq!(log.matches("the pipe has no reader").count(), 1, "{log}");
    server.stop();
}
