//! `veche docs-check`: the documentation against a deployment, however it differs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Client;
use crate::export::{close, first_line};
use crate::extent::Extent;
use crate::server::{STORES, Server, run_within, until, veche};
use crate::turnstile;

/// True if other deployments than a fresh one, a busy one and a faulty one are checked: each runs
/// all pages, which is some 280 runs of bash and curl.
const OTHER_DEPLOYMENTS: Extent<bool> = Extent { short: false, long: true };
/// The longest time for a whole run, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(10);
/// The stores of the deployments.
const ON: Extent<&[&str]> = Extent { short: &["sled"], long: &STORES };

/// The output of a run.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    fn of(output: Output) -> Said {
        Said {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The lines that begin with this word.
    fn cases(&self, word: &str) -> Vec<&str> {
        self.stdout.lines().filter(|line| line.starts_with(word)).collect()
    }

    /// The number before a phrase in the announcement.
    fn announced(&self, phrase: &str) -> usize {
        let before = self.stdout.split(phrase).next().unwrap().trim_end();
        before.rsplit([' ', '\n']).next().unwrap().parse().unwrap()
    }

    fn all_the_same(&self) {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        assert_eq!(self.cases("DIFFERS"), [""; 0]);
        assert_eq!(self.stderr, "", "nothing is shown where there is no terminal");
        let summary = self.stdout.lines().last().unwrap();
        let (same, skipped) = (self.cases("same").len(), self.cases("skipped").len());
        assert_eq!(summary, format!("{same} same, 0 differ, {skipped} skipped"));
        assert!(same > 90 && skipped >= 3, "{summary}");
    }
}

fn check(addr: SocketAddr) -> Said {
    docs_check(&[&format!("http://{addr}"), "--yes"])
}

fn docs_check(args: &[&str]) -> Said {
    Said::of(run_within(&mut command(args), PATIENCE))
}

fn command(args: &[&str]) -> Command {
    let mut command = veche();
    // A proxy configured for the tests' user does not lead to this machine.
    command.arg("docs-check").args(args).env("no_proxy", "127.0.0.1");
    command
}

#[test]
fn a_fresh_server_is_as_documented() {
    for store in ON.now() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        check(server.addr()).all_the_same();
        // Once more beside the data of the first run.
        let again = check(server.addr());
        again.all_the_same();
        assert!(again.stdout.contains("of others"), "{}", again.stdout);
    }
}

/// Exactly what was announced is written.
#[test]
fn the_announcement_matches_what_is_written() {
    if !OTHER_DEPLOYMENTS.now() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let reader = Client::signed_up(&server, "reader");
    let url = format!("http://{}", server.addr());
    let announced = docs_check(&[&url]);
    assert_eq!(announced.code, Some(2), "{}", announced.stderr);
    assert!(announced.stdout.contains("--yes"), "{}", announced.stdout);
    assert_eq!(counts(&reader), (1, 0, 0), "nothing is written");
    // The deployment need not even exist.
    assert_eq!(docs_check(&["http://127.0.0.1:1"]).code, Some(2));

    docs_check(&[&url, "--yes"]).all_the_same();
    let (accounts, general, private) = counts(&reader);
    assert_eq!(announced.announced(" accounts,"), accounts - 1);
    assert_eq!(announced.announced(" messages to"), general);
    assert_eq!(announced.announced(" private messages"), private);
    assert!(private > 0);
}

/// Users, messages in the general chat, and private messages. Private ones cannot be listed, but
/// ids are given out in one sequence: an id missing in the general chat was private.
fn counts(reader: &Client) -> (usize, usize, usize) {
    let users = reader.follow("/api/users", 1000).0.len();
    let general = reader.follow("/api/messages", 1000).0.len();
    let last = reader.say("last");
    // The reader's own messages, now and before, do not count.
    let own = reader.follow("/api/messages", 1000).0;
    let own = own.iter().filter(|message| message["text"] == "last").count();
    // Edits and deletions are numbered too; the examples have them in the general chat only.
    let events = reader.follow("/api/events", 1000).0;
    let revisions = events.iter().filter(|event| event["type"] != "message.created").count();
    let all = usize::try_from(last).unwrap() + 1 - own - revisions;
    let general = general + 1 - own;
    (users, general, all - general)
}

/// Strangers have the ids that the pages use, and their mailboxes stay as they are.
#[test]
fn nobody_else_is_addressed() {
    const USERS: u64 = 1100;
    for store in ON.now() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        fs::write(&secret, [7; 32]).unwrap();
        let export = dir.path().join("export");
        fs::write(&export, a_town(USERS, &password_hash(dir.path()))).unwrap();
        let args = ["--import".as_ref(), export.as_os_str()];
        let server = Server::start_with(store, dir.path(), &args);
        let strangers: BTreeMap<u64, Client> = [1, 2, 3, 4, 5, 6, 999]
            .map(|id| (id, Client::new(&server).log_in(&format!("stranger{id}"))))
            .into();
        let mailboxes = || -> Vec<Value> {
            let mailbox = |client: &Client| client.get("/api/users/me/messages?limit=1000").json();
            strangers.values().map(mailbox).collect()
        };
        let before = mailboxes();
        let stopped = AtomicBool::new(false);
        let (said, posted) = thread::scope(|scope| {
            let busy = strangers[&4].clone();
            let posting = scope.spawn(|| {
                let mut posted = 0;
                let busy = busy;
                while !stopped.load(Ordering::SeqCst) {
                    busy.say("meanwhile");
                    posted += 1;
                }
                posted
            });
            let said = check(server.addr());
            stopped.store(true, Ordering::SeqCst);
            (said, posting.join().unwrap())
        });
        said.all_the_same();
        assert!(posted > 100, "{posted}");
        assert!(said.stdout.contains("of others"), "{}", said.stdout);
        assert_eq!(mailboxes(), before);
        let ours = |user: &&Value| user["id"].as_u64().unwrap() > USERS;
        let users = strangers[&1].follow("/api/users", 1000).0;
        let named = |user: &Value| user["username"].as_str().unwrap().rsplit('-').count() == 3;
        // One of the accounts is ended, and has no password any more.
        let ended = |user: &Value| user["deleted"] == true;
        assert!(
            users.iter().filter(ours).all(|user| named(user) || ended(user)),
            "fresh names only"
        );
        let announced = said.announced(" accounts,");
        assert_eq!(users.iter().filter(ours).count(), announced);
        let general = strangers[&1].follow("/api/messages", 1000).0;
        let by_us = general.iter().filter(|it| it["from_user"].as_u64().unwrap() > USERS).count();
        assert_eq!(by_us, said.announced(" messages to"));
    }
}

/// The hash of the password that [`Client`]s have.
fn password_hash(dir: &Path) -> String {
    let store = tempfile::tempdir_in(dir).unwrap();
    let server = Server::start("sled", store.path());
    Client::signed_up(&server, "somebody");
    server.stop();
    let data = store.path().join("data");
    let exported = Said::of(run_within(veche().args(["export", "--data-dir"]).arg(data), PATIENCE));
    let user: Value = serde_json::from_str(exported.stdout.lines().nth(1).unwrap()).unwrap();
    user["user"]["password_hash"].as_str().unwrap().to_owned()
}

/// Many users, some hundred messages of the general chat and private ones between the first.
fn a_town(users: u64, password_hash: &str) -> Vec<u8> {
    let at = "2025-01-02T03:04:05.678Z";
    let mut lines = first_line();
    for id in 1..=users {
        let user = json!({
            "id": id,
            "username": format!("stranger{id}"),
            "password_hash": password_hash,
            "created_at": at,
        });
        let _ = writeln!(lines, "{}", json!({ "user": user }));
    }
    let messages = 1200;
    for id in 0..messages {
        let (from, to) = (id % 7 + 1, if id % 3 == 0 { (id / 3) % 7 + 1 } else { 0 });
        let message =
            json!({"id": id, "from_user": from, "to_user": to, "text": "psst", "sent_at": at});
        let _ = writeln!(lines, "{}", json!({ "message": message }));
    }
    close(lines, usize::try_from(users).unwrap(), messages)
}

#[test]
fn other_settings_are_reported_as_differences() {
    if !OTHER_DEPLOYMENTS.now() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let args = ["--min-password-length", "8", "--token-ttl", "600"];
    let server = Server::start_with("memory", dir.path(), &args);
    let said = check(server.addr());
    assert_eq!(said.code, Some(1), "{}{}", said.stdout, said.stderr);
    assert_eq!(
        said.cases("DIFFERS"),
        [
            "DIFFERS  readme: Register",
            "DIFFERS  readme: Say something; Read along",
            "DIFFERS  accounts: Register with a password that is too short",
            "DIFFERS  accounts: Log in",
            "DIFFERS  sessions: Change the password",
            "DIFFERS  sessions: Change the password to one that is too short",
            "DIFFERS  aliases: Log in under the alias",
        ]
    );
    for shown in [
        "    body.expires_in\n      expected  3600\n      actual    600\n",
        "    status\n      expected  201 Created\n      actual    422 Unprocessable Content\n",
        "    not run, because a step before failed: POST /login was answered 401\n",
        "must be at least 3 characters",
        "must be at least 8 characters",
    ] {
        assert!(said.stdout.contains(shown), "{shown}\n{}", said.stdout);
    }
    let summary = said.stdout.lines().last().unwrap();
    assert!(summary.contains(" same, 8 differ, "), "{summary}");
}

#[test]
fn a_missing_deployment_is_reported_in_a_line() {
    let _pass = turnstile::shared();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let said = check(nobody);
    assert_eq!(said.code, Some(1));
    assert_eq!(said.cases("DIFFERS"), [""; 0], "{}", said.stdout);
    assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    assert!(said.stderr.starts_with("veche: it cannot be reached: curl: (7) "), "{}", said.stderr);
}

#[test]
fn an_invalid_address_is_refused() {
    for url in ["localhost:5000", "http://a;reboot", "http://a/$(reboot)", "http://a b", "http://"]
    {
        let said = docs_check(&[url, "--yes"]);
        assert_eq!(said.code, Some(2), "{url}");
        assert_eq!(said.stdout, "", "{url}");
        assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
        assert!(said.stderr.starts_with("veche: "), "{}", said.stderr);
    }
}

#[test]
fn a_tool_that_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let url = format!("http://{}", server.addr());
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for missing in ["bash", "curl"] {
        let said = Said::of(run_within(command(&[&url, "--yes"]).env("PATH", &bin), PATIENCE));
        assert_eq!(said.code, Some(1));
        assert_eq!(said.stderr, format!("veche: {missing} is needed, and not there\n"));
        let found = Command::new("sh").args(["-c", "command -v bash"]).output().unwrap();
        let bash = String::from_utf8(found.stdout).unwrap();
        std::os::unix::fs::symlink(bash.trim(), bin.join("bash")).unwrap_or_default();
    }
}

/// A word is changed on its way, in one response or in many.
#[test]
fn a_changed_word_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let lies = [
        (
            "psst, Bob",
            "psst, Rob",
            "private-messages: Read all of one's private messages",
            "[0].text",
        ),
        (
            "two parties",
            "two partees",
            "messages: Read a private message of other users",
            "body.detail",
        ),
        ("WWW-Authenticate", "WWW-Authentikate", "errors: A missing token", "WWW-Auth"),
        ("rel=\"next\"", "rel=\"nest\"", "paging: The newest page", "Link"),
        ("\"token_type\"", "\"token_tipe\"", "accounts: Log in", "token_type"),
        ("problem+json", "problem-json", "users: Look up a user without a token", "Content-Type"),
    ];
    let said = check(through(server.addr(), lies.map(|(word, lie, ..)| (word, lie)).into()));
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    for (word, _, caught, what) in lies {
        let caught = format!("DIFFERS  {caught}");
        let mut cases = said.stdout.split("\nDIFFERS").skip(1).map(|case| format!("DIFFERS{case}"));
        let case = cases.find(|case| case.starts_with(&caught));
        assert!(case.is_some_and(|case| case.contains(what)), "{word}\n{}", said.stdout);
    }
    // Unchanged responses pass.
    check(through(server.addr(), vec![("never said", "NEVER SAID")])).all_the_same();
}

/// A proxy to the server that replaces each word in its answers by a lie of the same length.
fn through(server: SocketAddr, lies: Vec<(&'static str, &'static str)>) -> SocketAddr {
    assert!(lies.iter().all(|(word, lie)| word.len() == lie.len()));
    let lies = Arc::new(lies);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let lies = Arc::clone(&lies);
            thread::spawn(move || {
                let upstream = TcpStream::connect(server).unwrap();
                let (mut to_server, mut from_client) =
                    (upstream.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from_client, &mut to_server);
                    let _ = to_server.shutdown(std::net::Shutdown::Write);
                });
                lie_on_the_way(upstream, client, &lies);
            });
        }
    });
    addr
}

fn lie_on_the_way(mut from: TcpStream, mut to: TcpStream, lies: &[(&str, &str)]) {
    // The server writes a small reply at once, so that words arrive whole.
    let mut piece = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = from.read(&mut piece) {
        let piece = &mut piece[..len];
        for (word, lie) in lies {
            while let Some(at) = piece.windows(word.len()).position(|it| it == word.as_bytes()) {
                piece[at..at + word.len()].copy_from_slice(lie.as_bytes());
            }
        }
        if to.write_all(piece).is_err() {
            return;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

/// The token is sent to the deployment only.
#[test]
fn a_link_to_another_host_is_not_followed() {
    if !OTHER_DEPLOYMENTS.now() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    other.set_nonblocking(true).unwrap();
    let word = "/api/messages?after";
    let lie = format!("@{}/?x", other.local_addr().unwrap());
    let lie = format!("{lie:x<0$}", word.len()).leak();
    let said = check(through(server.addr(), vec![(word, lie)]));
    assert_eq!(said.code, Some(1), "{}{}", said.stdout, said.stderr);
    let leads = format!("the link leads elsewhere: {lie}");
    let case = said.stdout.split("DIFFERS  paging: Following the link\n").nth(1);
    let case = case.and_then(|case| case.split("\nsame").next()).unwrap_or_default();
    assert!(case.contains(&leads), "{}", said.stdout);
    assert!(other.accept().is_err(), "nobody has asked there");
}

/// It is reported for the case, and the cases after it are run.
#[test]
fn an_example_that_hangs_is_a_difference() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let said = check(swallowing(server.addr(), "GET /api/rooms "));
    assert_eq!(said.code, Some(1), "{}{}", said.stdout, said.stderr);
    assert_eq!(said.cases("DIFFERS"), ["DIFFERS  errors: A path that does not exist"]);
    assert!(said.stdout.contains("      actual    curl: (28) "), "{}", said.stdout);
    assert_eq!(said.stderr, "");
    let summary = said.stdout.lines().last().unwrap();
    assert!(summary.contains(" same, 1 differs, "), "{summary}");
}

#[test]
fn a_deployment_that_goes_away_ends_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let said = check(leaving(server.addr(), 12));
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    assert!(!said.cases("same").is_empty(), "{}", said.stdout);
    // The connection at which the proxy stops may still be established.
    assert!(matches!(said.cases("DIFFERS").len(), 3 | 4), "{}", said.stdout);
    assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    assert!(said.stderr.starts_with("veche: it cannot be reached: curl: (7) "), "{}", said.stderr);
    let summary = said.stdout.lines().last().unwrap();
    assert!(summary.starts_with(&format!("{} same, ", said.cases("same").len())), "{summary}");
}

/// A proxy to the server that stops answering at a request with these words.
fn swallowing(server: SocketAddr, words: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || forward(&client, server, words));
        }
    });
    addr
}

/// A proxy to the server for this many connections, one after the other.
fn leaving(server: SocketAddr, connections: usize) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok).take(connections) {
            forward(&client, server, "never asked");
        }
    });
    addr
}

/// curl sends its short requests at once, so that words arrive whole.
fn forward(client: &TcpStream, server: SocketAddr, swallowed: &str) {
    let upstream = TcpStream::connect(server).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut piece = vec![0; 64 * 1024];
            let mut from_client = client;
            while let Ok(len @ 1..) = from_client.read(&mut piece) {
                let piece = &piece[..len];
                let found = piece.windows(swallowed.len()).any(|it| it == swallowed.as_bytes());
                if !found && (&upstream).write_all(piece).is_err() {
                    break;
                }
            }
            let _ = upstream.shutdown(std::net::Shutdown::Write);
        });
        let _ = std::io::copy(&mut &upstream, &mut &*client);
        let _ = client.shutdown(std::net::Shutdown::Write);
    });
}

/// bash, and the programs it has started, do not outlive the command.
#[test]
fn nothing_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let url = format!("http://{}", server.addr());
    let _pass = turnstile::shared();
    let tmp = dir.path().join("tmp");
    fs::create_dir(&tmp).unwrap();
    let homes = || fs::read_dir(&tmp).unwrap().count();
    let done = run_within(command(&[&url, "--yes"]).env("TMPDIR", &tmp), PATIENCE);
    assert_eq!((done.status.code(), homes()), (Some(0), 0));

    let mut child = command(&[&url, "--yes"])
        .env("TMPDIR", &tmp)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A block has been begun: from then on bash knows what to do at its end.
    let begun = until(PATIENCE, || {
        let mut homes = fs::read_dir(&tmp).unwrap().flatten();
        homes.any(|home| home.path().join("output").exists()).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    begun.unwrap();
    until(PATIENCE, || (homes() == 0).then_some(())).expect("bash cleans up");
}
