//! `veche backup`, against servers that give a backup and those that only claim to; and restoring
//! it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use veche::model::StoreId;
use veche::store::{Backend, LogStore, MIN_JUMP};

use crate::client::Client;
use crate::export::make_up_export;
use crate::server::{Server, run, veche};
use crate::transfer::{digest, export, import, lived_in, stderr, views};

/// The answer of a server.
#[derive(Clone, Copy)]
enum Answer {
    /// These bytes, and then the end of the connection.
    Bytes,
    /// These bytes, and then sent data without end.
    Endless,
    /// These bytes, and then nothing.
    Silence,
}

/// Answers the first request, and reports its first line.
struct Giver {
    addr: SocketAddr,
    asked: Receiver<String>,
    /// Ends the silence.
    _end: Sender<()>,
}

impl Giver {
    fn of(answer: Answer, bytes: Vec<u8>) -> Giver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (tell, asked) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = tell.send(first_line(&mut stream));
            let mut sent = stream.write_all(&bytes);
            match answer {
                Answer::Bytes => {}
                Answer::Silence => drop(ended.recv()),
                Answer::Endless => {
                    while sent.is_ok() {
                        sent = stream.write_all(&[0x5a; 8 * 1024]);
                    }
                }
            }
        });
        Giver { addr, asked, _end: end }
    }

    fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

fn first_line(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut part).unwrap();
        assert_ne!(read, 0, "a request has a head");
        head.extend_from_slice(&part[..read]);
    }
    String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned()
}

fn answer(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {status}\r\n{fields}\r\n").as_bytes(), body].concat()
}

fn ok(len: usize, body: &[u8]) -> Vec<u8> {
    answer("200 OK", &format!("Content-Length: {len}\r\n"), body)
}

/// The bytes that the server of a store would send.
pub(crate) fn snapshot(data: &Path) -> Vec<u8> {
    let store = LogStore::open(data, StoreId(0), &mut ()).unwrap();
    let mut bytes = Vec::new();
    store.snapshot().unwrap().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn backup(url: &str, file: &Path) -> Output {
    run(veche().arg("backup").arg(url).arg(file))
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// From a server to a file, to every kind of store, and to an export of it.
#[test]
fn a_backup_is_restored_whole() {
    let (old, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let seen = lived_in(old.path());
    let exported = digest(&export(&old.path().join("data"), &old.path().join("export")));
    let bytes = snapshot(&old.path().join("data"));
    for slash in ["", "/"] {
        let giver = Giver::of(Answer::Bytes, ok(bytes.len(), &bytes));
        let file = kept.path().join(format!("chat{}.backup", slash.len()));
        let done = backup(&(giver.url() + slash), &file);
        assert_eq!(digest(&done), exported);
        assert!(stderr(&done).starts_with("backed up 3 users, 9 messages"), "{}", stderr(&done));
        assert_eq!(giver.asked.recv().unwrap(), "GET /backup HTTP/1.1");
        assert!(fs::read(&file).unwrap() == bytes);
    }
    assert_eq!(names(kept.path()), ["chat0.backup", "chat1.backup"], "nothing else is left");
    let file = kept.path().join("chat0.backup");

    let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let [restored, piped, flagged, memory] = &dirs[..] else { panic!("four directories") };
    assert_eq!(digest(&import(&restored.path().join("data"), &file)), exported);
    let mut pipe = veche();
    pipe.args(["import", "-", "--data-dir"]).arg(piped.path().join("data"));
    pipe.stdin(fs::File::open(&file).unwrap());
    assert_eq!(digest(&run(&mut pipe)), exported);
    let verified = run(veche().args(["import", "--store", "memory"]).arg(&file));
    assert_eq!(digest(&verified), exported);
    let again = export(&restored.path().join("data"), &kept.path().join("export"));
    assert_ne!(digest(&again), exported, "sessions have ended, and an epoch has begun");

    let flag = ["--import".as_ref(), file.as_os_str()];
    for server in [
        Server::start("sled", restored.path()),
        Server::start("sled", piped.path()),
        Server::start_with("sled", flagged.path(), &flag),
        Server::start_with("memory", memory.path(), &flag),
    ] {
        let ann = Client::new(&server).log_in("ann");
        // Each body, and its links, which have the epoch.
        for (now, then) in views(&ann).chunks(2).zip(seen.chunks(2)) {
            assert_eq!(now[0], then[0], "not a byte differs");
            assert_ne!(now[1], then[1]);
        }
        assert!(ann.say("more") > 9 + MIN_JUMP, "ids go on far above");
        assert!(Client::new(&server).sign_up("fourth").id() > 4 + MIN_JUMP);
    }
}

#[test]
fn an_invalid_backup_leaves_nothing() {
    let (old, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    lived_in(old.path());
    let good = snapshot(&old.path().join("data"));
    let len = good.len();
    let changed = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 1;
        bad
    };
    let told = |status: &str, body: &str| {
        answer(status, &format!("Content-Length: {}\r\n", body.len()), body.as_bytes())
    };
    let twice = [&*good, &*good].concat();
    let chunked = "Transfer-Encoding: chunked\r\n";
    let cases: Vec<(&str, Answer, Vec<u8>, &str)> = vec![
        ("nothing", Answer::Bytes, Vec::new(), "http://"),
        ("no HTTP", Answer::Bytes, b"5a5a5a5a\r\n\r\n".to_vec(), "http://"),
        (
            "not there",
            Answer::Bytes,
            told("404 Not Found", "no\u{1b} such\npath"),
            "404 Not Found no\\u{1b} such\\npath",
        ),
        ("a long refusal", Answer::Endless, told("500 Oh", &"no! ".repeat(1000)), "500"),
        (
            "elsewhere",
            Answer::Bytes,
            answer("302 Found", "Location: http://127.0.0.1:1/\r\nContent-Length: 0\r\n", b""),
            "302",
        ),
        ("no length", Answer::Bytes, answer("200 OK", "", &good), "how long"),
        ("no length, and endless", Answer::Endless, answer("200 OK", "", &good), "how long"),
        ("chunks", Answer::Bytes, answer("200 OK", chunked, b"1\r\nV\r\n0\r\n\r\n"), "how long"),
        ("an empty body", Answer::Bytes, ok(0, b""), "offset 0"),
        ("a cut body", Answer::Bytes, ok(len, &good[..len - 1]), "http://"),
        ("a cut backup", Answer::Bytes, ok(len - 28, &good[..len - 28]), "cut short"),
        ("a length too small", Answer::Bytes, ok(len - 1, &good), "cut short"),
        ("a length too large", Answer::Bytes, ok(len + 9, &good), "http://"),
        ("two of them", Answer::Bytes, ok(2 * len, &twice), "something follows"),
        ("a wrong byte at first", Answer::Bytes, ok(len, &changed(0)), "offset 0"),
        ("a wrong byte", Answer::Bytes, ok(len, &changed(300)), "unreadable"),
        ("a wrong byte at last", Answer::Bytes, ok(len, &changed(len - 1)), "end mark"),
        ("an endless one", Answer::Endless, ok(usize::MAX >> 1, &good[..len - 28]), "offset"),
        ("an export", Answer::Bytes, ok(9, b"{\"veche_e"), "offset 0"),
    ];
    for (what, manner, bytes, why) in cases {
        let giver = Giver::of(manner, bytes);
        let failed = backup(&giver.url(), &kept.path().join("backup"));
        let stderr = stderr(&failed);
        assert_eq!(failed.status.code(), Some(1), "{what}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{what}: {stderr}");
        assert!(stderr.starts_with("veche: http://") && stderr.contains(why), "{what}: {stderr}");
        assert!(stderr.len() < 1000, "{what}: {stderr}");
        assert_eq!(names(kept.path()), [] as [&str; 0], "{what}");
    }
}

#[test]
fn a_server_without_a_backup_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (file, url) = (dir.path().join("backup"), format!("http://{free}"));
    for (url, file, why) in [
        (&*url, &*file, "refused"),
        ("https://127.0.0.1:1", &file, "http://"),
        ("127.0.0.1:5001", &file, "http://"),
        ("http://", &file, "http://"),
        (&url, &dir.path().join("nowhere/backup"), "refused"),
    ] {
        let refused = backup(url, file);
        let stderr = stderr(&refused);
        assert_eq!(refused.status.code(), Some(1), "{url}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{url}: {stderr}");
        assert!(stderr.contains(why), "{url}: {stderr}");
    }
    assert_eq!(names(dir.path()), [] as [&str; 0]);
    fs::write(&file, "precious").unwrap();
    let giver = Giver::of(Answer::Bytes, Vec::new());
    let refused = backup(&giver.url(), &file);
    assert!(stderr(&refused).contains("backup: "), "{}", stderr(&refused));
    assert_eq!(refused.status.code(), Some(1));
    assert!(giver.asked.try_recv().is_err(), "nobody is asked in vain");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

/// With another time limit than the command's own.
#[test]
fn a_server_that_falls_silent_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    lived_in(dir.path());
    let good = snapshot(&dir.path().join("data"));
    let kept = tempfile::tempdir().unwrap();
    for sent in [Vec::new(), ok(good.len(), &[]), ok(good.len(), &good[..good.len() / 2])] {
        let giver = Giver::of(Answer::Silence, sent);
        let patience = Duration::from_millis(300);
        let file = kept.path().join("backup");
        let given_up = veche::backup::fetch(&giver.url(), &file, patience, &mut ());
        assert!(given_up.unwrap_err().to_string().contains("timeout"));
        assert_eq!(names(kept.path()), [] as [&str; 0]);
    }
}

/// Refused by offset, and no store is begun.
#[test]
fn a_damaged_backup_is_not_imported() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("export"), make_up_export(100, 50)).unwrap();
    digest(&import(&dir.path().join("data"), &dir.path().join("export")));
    let good = snapshot(&dir.path().join("data"));
    let (file, data) = (dir.path().join("backup"), dir.path().join("new"));
    let (middle, mut bad) = (good.len() / 2, good.clone());
    bad[middle] ^= 8;
    for bytes in [&bad, &good[..middle].to_vec(), &[&*good, b"\n"].concat()] {
        fs::write(&file, bytes).unwrap();
        for command in [
            veche().arg("import").arg(&file).arg("--data-dir").arg(&data),
            veche()
                .args(["import", "--data-dir"])
                .arg(&data)
                .stdin(Stdio::from(fs::File::open(&file).unwrap())),
            veche().args(["import", "--store=memory"]).arg(&file),
            veche()
                .args(["--listen=127.0.0.1:0", "--log=error", "--import"])
                .arg(&file)
                .arg("--data-dir")
                .arg(&data),
        ] {
            let refused = run(command);
            assert_eq!(refused.status.code(), Some(1));
            assert_eq!(stderr(&refused).lines().count(), 1, "{}", stderr(&refused));
            assert!(stderr(&refused).contains("offset "), "{}", stderr(&refused));
        }
        assert!(!data.exists(), "nothing is left behind");
    }
}
