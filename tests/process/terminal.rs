//! Escaping: text from files, clients, other servers and the environment never reaches a terminal
//! unescaped.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;
use std::thread;

use crate::export::{close, make_up_export};
use crate::server::{Server, run, veche};

/// Clears the screen, in two ways, and reverses the direction of writing. The last one passes
/// filters for colours.
const HOSTILE: &str = "\u{1b}[2J\u{9b}2J\u{202e}";

/// Its escaped form.
const SHOWN: &str = "\\u{1b}[2J\\u{9b}2J\\u{202e}";

/// The output of a command, which must be printable, with text from outside escaped.
fn said(output: &Output, what: &str) -> String {
    let said = [&*output.stdout, &output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    let obeyed = |c: char| c != '\n' && c.is_control() || c == '\u{202e}';
    assert!(!said.contains(obeyed), "{what}: {said:?}");
    said
}

#[test]
fn an_import_shows_what_it_refuses() {
    let good = String::from_utf8(make_up_export(1, 10)).unwrap();
    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    let [head, user, ..] = lines[..] else { panic!("{good}") };
    let hostile = serde_json::to_string(HOSTILE).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(format!("export{HOSTILE}"));
    for line in [
        format!("{{{hostile}:{{}}}}\n"),
        user.replace("\"author\"", &hostile),
        user.replace("\"username\"", &hostile),
        user.replace("\"2025", &format!("{}2025", &hostile[..hostile.len() - 1])),
    ] {
        fs::write(&file, close(format!("{head}{line}"), 1, 0)).unwrap();
        let data = dir.path().join("data");
        let refused = run(veche().arg("import").arg(&file).arg("--data-dir").arg(data));
        assert_eq!(refused.status.code(), Some(1));
        let said = said(&refused, &line);
        assert!(said.contains(&format!("export{SHOWN}: line 2:")), "{said}");
    }
}

#[test]
fn arguments_and_the_environment_are_shown() {
    let hostile = OsStr::new(HOSTILE);
    let mut commands = Vec::new();
    for option in ["--store", "--listen", "--token-ttl", "--operator", "--cors-origin", "--nothing"]
    {
        commands.push(veche());
        commands.last_mut().unwrap().arg(option).arg(hostile);
    }
    commands.push(veche());
    commands.last_mut().unwrap().arg(hostile);
    for name in ["VECHE_STORE", "VECHE_LISTEN", "VECHE_LOG", "VECHE_TRUST_PROXY"] {
        commands.push(veche());
        commands.last_mut().unwrap().env(name, hostile);
    }
    for command in &mut commands {
        let what = format!("{command:?}");
        let refused = run(command);
        assert_eq!(refused.status.code(), Some(2), "{what}");
        assert!(!said(&refused, &what).is_empty(), "{what}");
    }
    let help = run(veche().arg("--help").env("VECHE_DATA_DIR", hostile));
    assert_eq!(help.status.code(), Some(0));
    assert!(said(&help, "help").contains("VECHE_DATA_DIR"));
    for command in ["check", "export", "compact", "docs-check", "backup"] {
        let refused = run(veche().arg(command).arg("--data-dir").arg(hostile).arg(hostile));
        said(&refused, command);
        let refused = run(veche().arg(command).env("VECHE_DATA_DIR", hostile));
        said(&refused, command);
    }
}

#[test]
fn the_log_shows_where_the_store_is() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join(format!("data\n{HOSTILE}"));
    let mut command = veche();
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(data);
    let server = Server::spawn(&mut command, dir.path());
    server.signal(rustix::process::Signal::TERM);
    let log = dir.path().join("stderr");
    assert_eq!(server.wait().0, Some(0));
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains(&format!("data\\n{SHOWN}")), "{log:?}");
    assert!(!log.contains(HOSTILE), "{log:?}");
}

#[test]
fn another_server_is_quoted_printably() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        let body = format!("no\n{HOSTILE}");
        let len = body.len();
        let head = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {len}\r\n\r\n");
        let _ = stream.write_all((head + &body).as_bytes());
    });
    let dir = tempfile::tempdir().unwrap();
    let refused = run(veche().arg("backup").arg(url).arg(dir.path().join("backup")));
    assert_eq!(refused.status.code(), Some(1));
    let said = said(&refused, "backup");
    assert!(said.contains(&format!("403 Forbidden no\\n{SHOWN}")), "{said}");
}
