//! Restores from a backup: no id that clients have seen is given out again.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use veche::model::MAX_ID;
use veche::store::MIN_JUMP;

use crate::admin::figure;
use crate::client::{Client, PASSWORD, credentials};
use crate::server::{Server, run, veche};
use crate::stage::Stage;
use crate::transfer::{digest, export, import, lived_in, stderr};
use crate::wire::{Wire, request};

/// A store that went on after its backup, and its clients' knowledge of that time.
struct LostRange {
    /// The backup.
    file: PathBuf,
    /// The output of the command that made it.
    told: String,
    epoch: String,
    /// The last event before the backup, and the last one of all.
    backed_up: u64,
    last: u64,
    /// The last account of all, registered after the backup.
    last_user: u64,
    /// Every token that was ever valid; the last one is of a session that was ended after the
    /// backup.
    tokens: Vec<String>,
    /// The `next` links of lists at the backup, and at the end.
    early_links: Vec<String>,
    late_links: Vec<String>,
}

const LISTS: [&str; 5] = [
    "/api/messages",
    "/api/users/me/messages",
    "/api/events",
    "/api/users",
    "/api/users/me/blocks",
];

fn next(client: &Client, list: &str) -> String {
    client.get(list).link("next").expect("a page has a link to what is next")
}

fn epoch_of(client: &Client) -> String {
    let link = next(client, "/api/messages");
    link.rsplit_once("epoch=").expect("a link says whose it is").1.to_owned()
}

fn backup(url: &str, file: &Path) -> Output {
    run(veche().arg("backup").arg(url).arg(file))
}

/// Two accounts and three messages are in the backup, and one account and three messages are not.
fn lose(dir: &Path) -> LostRange {
    let server = Server::start_with("sled", dir, &["--admin-listen", "127.0.0.1:0"]);
    let admin = server.admin_addr();
    let ann = Client::signed_up(&server, "ann");
    let bob = Client::signed_up(&server, "bob");
    let other_device = Client::new(&server).log_in("ann");
    ann.say("one");
    ann.tell(2, "two");
    let backed_up = bob.say("three");
    let early_links = LISTS.map(|list| next(&ann, list)).to_vec();
    let file = dir.join("chat.backup");
    let done = backup(&format!("http://{admin}"), &file);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let told = stderr(&done);

    let late = Client::signed_up(&server, "late");
    ann.say("four");
    ann.tell(late.id(), "five, for the late one alone");
    let newest = late.say("six");
    assert_eq!(other_device.ask("POST", "/logout", None).status, 204);
    let late_links = LISTS.map(|list| next(&ann, list)).to_vec();
    let lost = LostRange {
        file,
        told,
        epoch: epoch_of(&ann),
        backed_up,
        last: newest,
        last_user: late.id(),
        tokens: [&ann, &bob, &late, &other_device].map(|it| it.token().to_owned()).to_vec(),
        early_links,
        late_links,
    };
    server.stop();
    lost
}

/// Everything that a server has given out, which no other one may give out again.
#[derive(Default)]
struct GivenOut {
    events: HashSet<u64>,
    users: HashSet<u64>,
    epochs: HashSet<String>,
}

fn with_epoch(path: &str, epoch: &str) -> String {
    format!("{path}&epoch={epoch}")
}

fn expect_lost(client: &Client, path: &str) {
    let answer = client.get(path);
    assert_eq!((answer.status, &*answer.problem()), (410, "cursor-lost"), "{path}");
}

/// The status of a stream that goes on after an event.
fn stream(server: &Server, client: &Client, query: &str, last_seen: u64) -> u16 {
    let mut wire = Wire::connect(server.addr());
    let fields = format!("Accept: text/event-stream\r\nLast-Event-ID: {last_seen}\r\n");
    wire.send(request(client, &format!("HEAD /api/events{query} HTTP/1.1"), &fields, ""));
    wire.head_answer().status
}

fn texts(items: &[Value]) -> Vec<&str> {
    items.iter().filter_map(|item| item["text"].as_str()).collect()
}

/// Uses a server of the restored store like the lost one's clients, and goes on there.
fn go_on(server: &Server, lost: &LostRange, given_out: &mut GivenOut) {
    for token in &lost.tokens {
        let answer = Client::new(server).with_token(token.clone()).get("/api/users/me");
        assert_eq!((answer.status, &*answer.problem()), (401, "token-invalid"));
    }
    let ann = Client::new(server).log_in("ann");
    let sessions = ann.get("/api/users/me/sessions").items();
    assert_eq!(sessions.len(), 1, "of those before none is left");
    let epoch = epoch_of(&ann);
    assert!(given_out.epochs.insert(epoch), "a new epoch each time");

    // Before and after new events.
    for round in ["before", "after"] {
        for link in &lost.early_links {
            let answer = ann.get(link);
            assert_eq!(answer.status, 200, "{round}: {link}");
        }
        for link in lost.late_links.iter().filter(|link| !link.contains("after=-1")) {
            expect_lost(&ann, link);
        }
        for seen in lost.backed_up + 1..=lost.last {
            for list in ["/api/messages", "/api/users/me/messages", "/api/events"] {
                let bare = format!("{list}?after={seen}");
                expect_lost(&ann, &bare);
                expect_lost(&ann, &with_epoch(&bare, &lost.epoch));
                expect_lost(&ann, &format!("{bare}&wait=1"));
            }
            for query in ["", "?after=0", &format!("?after=0&epoch={}", lost.epoch)] {
                assert_eq!(stream(server, &ann, query, seen), 410, "{query}");
            }
        }
        let early = format!("?after={}&epoch={}", lost.backed_up, lost.epoch);
        assert_eq!(stream(server, &ann, &early, lost.backed_up), 200);
        expect_lost(&ann, &format!("/api/users?after={}", lost.last_user));
        for list in LISTS {
            expect_lost(&ann, &format!("{list}?after={MAX_ID}"));
        }
        if round == "before" {
            let seen = ann.tell(2, "after the restore");
            assert!(seen >= lost.backed_up + MIN_JUMP && seen <= MAX_ID, "{seen}");
            assert!(given_out.events.insert(seen), "no id is given out again");
            let newcomer = Client::new(server).sign_up("newcomer");
            let id = newcomer.id();
            assert!(id > 2 + MIN_JUMP && id <= MAX_ID, "{id}");
            assert!(given_out.users.insert(id), "no id is given out again");
            let here = next(&ann, "/api/users/me/messages");
            assert!(given_out.events.insert(newcomer.say("hello")));
            assert_eq!(ann.get(&here).items(), [] as [Value; 0], "it goes on where it was");
        }
    }
    // A browser reconnects to the address that it was first given.
    let newest = ann.get("/api/events").ids();
    let early = format!("?after={}&epoch={}", lost.backed_up, lost.epoch);
    assert_eq!(stream(server, &ann, &early, newest[newest.len() - 1]), 200);
    // A message for a user who registered after the backup reaches nobody.
    let body = json!({ "text": "for the late one alone" });
    let path = format!("/api/users/{}/messages", lost.last_user);
    assert_eq!(ann.post(&path, &body).status, 404);
    // A client that stopped at the backup sees all later messages, and nothing twice.
    let news = ann.get(&lost.early_links[0]).items();
    assert_eq!(texts(&news), ["hello"]);
    let registered = ann.post("/register", &credentials("late", PASSWORD));
    assert_eq!(registered.status, 201, "the name is free");
    let id = registered.json()["id"].as_u64().expect("an id");
    assert!(given_out.users.insert(id), "no id is given out again");
}

#[test]
fn a_backup_that_is_restored_twice_gives_nothing_out_again() {
    let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let [old, first, second, memory] = &dirs[..] else { panic!("four directories") };
    let lost = lose(old.path());
    assert!(lost.told.starts_with("backed up 2 users, 3 messages"), "{}", lost.told);
    let mut given_out = GivenOut::default();
    given_out.epochs.insert(lost.epoch.clone());
    for dir in [first, second] {
        // The secret is the same: the new epoch and the ended sessions invalidate every token.
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::copy(old.path().join("data/jwt-secret"), data.join("jwt-secret")).unwrap();
        let restored = import(&data, &lost.file);
        assert_eq!(restored.status.code(), Some(0), "{}", stderr(&restored));
        let server = Server::start("sled", dir.path());
        go_on(&server, &lost, &mut given_out);
        server.stop();
    }
    let flag = ["--import".as_ref(), lost.file.as_os_str()];
    let server = Server::start_with("memory", memory.path(), &flag);
    go_on(&server, &lost, &mut given_out);
}

/// The output about the store: an epoch that goes on or a new one that begins.
fn expect_said(output: &Output, said: &[&str]) {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    let stderr = stderr(output);
    for said in said {
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
}

/// Each file names its purpose, and so do the commands that write or read it; the operator may
/// override it.
#[test]
fn a_file_says_whether_it_moves_a_store() {
    let old = tempfile::tempdir().unwrap();
    lived_in(old.path());
    let data = old.path().join("data");
    let (moved, kept) = (old.path().join("move"), old.path().join("backup"));
    let done = export(&data, &moved);
    expect_said(&done, &["exported a move: 3 users, 9 messages, sha256 "]);
    let mut command = veche();
    let backed_up =
        run(command.arg("export").arg("--backup").arg(&kept).arg("--data-dir").arg(&data));
    expect_said(&backed_up, &["exported a backup: 3 users, 9 messages, sha256 "]);
    for (file, purpose) in [(&moved, "move"), (&kept, "backup")] {
        let lines = std::fs::read_to_string(file).unwrap();
        let head: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!(head["veche_export"]["purpose"], purpose);
        let verified = run(veche().args(["import", "--store", "memory"]).arg(file));
        expect_said(&verified, &[&format!("verified a {purpose}: 3 users")]);
    }
    let restored =
        ["begins where", "ids go on from", "sessions that ended: ", "restored a backup: "];
    let imported = ["continues epoch ", "imported a move: 3 users, 9 messages, sha256 "];
    let flag = Some("--restore");
    // A copy of the data directory cannot be told from the one that went on.
    let cases: [(&Path, Option<&str>, &[&str]); 5] = [
        (&moved, None, &imported),
        (&moved, flag, &restored),
        (&kept, None, &restored),
        (&kept, flag, &restored),
        (&data, None, &restored),
    ];
    for (file, flag, said) in cases {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [commanded, flagged] = &dirs;
        let mut command = veche();
        command.arg("import").arg(file).args(flag).arg("--data-dir");
        let output = run(command.arg(commanded.path().join("data")));
        expect_said(&output, said);
        if file.is_file() {
            let same = if file == moved { &done } else { &backed_up };
            assert_eq!(digest(&output), digest(same), "the file's own");
        }
        let args = ["--import".as_ref(), file.as_os_str()].into_iter();
        let args: Vec<_> = args.chain(flag.map(AsRef::as_ref)).collect();
        for server in [
            Server::start("sled", commanded.path()),
            Server::start_with("sled", flagged.path(), &args),
        ] {
            let id = Client::new(&server).log_in("ann").say("more");
            assert_eq!(id > MIN_JUMP, said == restored, "{}: {id}", file.display());
            server.stop();
        }
    }
}

/// A memory store begins with its file at each start, so each start is a restore.
#[test]
fn ids_of_a_memory_store_are_not_given_out_again() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [old, first, second] = &dirs;
    lived_in(old.path());
    let file = old.path().join("move");
    export(&old.path().join("data"), &file);
    let flag = ["--import".as_ref(), file.as_os_str()];
    let mut given_out = GivenOut::default();
    for dir in [first, second] {
        let server = Server::start_with("memory", dir.path(), &flag);
        assert!(server.log().contains("restored a backup: "), "{}", server.log());
        let ann = Client::new(&server).log_in("ann");
        assert!(given_out.events.insert(ann.say("more")));
        assert!(given_out.users.insert(Client::new(&server).sign_up("fourth").id()));
        assert!(given_out.epochs.insert(epoch_of(&ann)));
        server.stop();
    }
}

/// Existing items are counted, not the ids that were skipped.
#[test]
fn figures_do_not_jump() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    lived_in(old.path());
    let data = new.path().join("data");
    expect_said(&import(&data, &old.path().join("data")), &["restored a backup: "]);
    let stage = Stage::set("sled", new.path());
    Client::new(&stage.server).log_in("ann").say("more");
    assert_eq!(figure(stage.admin, "veche_events"), Some(10.0));
    assert_eq!(figure(stage.admin, "veche_accounts"), Some(3.0));
    stage.server.stop();
}

/// The remembered epochs survive every operation on a store.
#[test]
fn a_restored_store_is_compacted_and_moved() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    lived_in(old.path());
    let data = new.path().join("data");
    expect_said(&import(&data, &old.path().join("data")), &["restored a backup: "]);
    let before = digest(&export(&data, &new.path().join("before")));
    for command in ["check", "compact", "check"] {
        let done = run(veche().arg(command).arg("--data-dir").arg(&data));
        assert_eq!(done.status.code(), Some(0), "{command}: {}", stderr(&done));
    }
    let after = new.path().join("after");
    assert_eq!(digest(&export(&data, &after)), before);
    let lines = std::fs::read_to_string(&after).unwrap();
    assert!(lines.contains("{\"past_epoch\":"), "{lines}");
    let moved = new.path().join("moved");
    assert_eq!(digest(&import(&moved, &after)), before);
    assert_eq!(digest(&export(&moved, &new.path().join("again"))), before);
}
