//! Export and import: a store as a file, and a file as a store.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Output, Stdio};

use veche::model::{StoreId, Timestamp, Username};
use veche::store::{Backend, LogStore, NewUser};

use crate::client::{Client, PASSWORD, credentials};
use crate::export::{close, hex, make_up_export};
use crate::server::{PATIENCE, Server, run, until, veche};
use crate::turnstile;

pub(crate) fn export(data: &Path, file: &Path) -> Output {
    run(veche().arg("export").arg(file).arg("--data-dir").arg(data))
}

pub(crate) fn import(data: &Path, file: &Path) -> Output {
    run(veche().arg("import").arg(file).arg("--data-dir").arg(data))
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The digest that a command printed.
pub(crate) fn digest(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    let stderr = stderr(output);
    let digest = stderr.trim_end().rsplit(' ').next().unwrap_or_default();
    assert_eq!(digest.len(), 64, "{stderr}");
    digest.to_owned()
}

/// A store with something of everything, and its clients' view of it.
pub(crate) fn lived_in(dir: &Path) -> Vec<Vec<u8>> {
    let server = Server::start("sled", dir);
    let ann = Client::signed_up(&server, "Ann");
    let bob = Client::signed_up(&server, "bob");
    Client::signed_up(&server, "silent");
    for text in ["plain", "ein Größerer Text", "\"quoted\"\\\n\t\u{7f}\u{1}", "🦀 \u{2028} نص"]
    {
        ann.say(text);
        bob.tell(1, text);
    }
    ann.tell(1, "to myself");
    let seen = views(&ann);
    server.stop();
    seen
}

pub(crate) fn views(client: &Client) -> Vec<Vec<u8>> {
    let paths =
        ["/api/messages", "/api/messages?limit=2", "/api/users/me/messages?with=2", "/api/users"];
    let view = |path| {
        let answer = client.get(path);
        let links = answer.header("Link").expect("links").as_bytes().to_owned();
        [answer.body, links]
    };
    paths.into_iter().flat_map(view).collect()
}

/// An export without its time and purpose, and without the digest that covers them.
fn timeless(export: &str) -> String {
    let mut left = export.to_owned();
    for begin in [",\"purpose\":\"", ",\"cut\":\"", ",\"bytes_sha256\":\""] {
        let Some(at) = left.find(begin) else { continue };
        let value = at + begin.len();
        let len = left[value..].find('"').unwrap() + 1;
        left.replace_range(at..value + len, "");
    }
    left
}

#[test]
fn a_store_moves_whole() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let seen = lived_in(old.path());
    let (first, second) = (old.path().join("export"), new.path().join("export"));
    let exported = export(&old.path().join("data"), &first);
    assert!(stderr(&exported).contains("3 users, 9 messages"), "{}", stderr(&exported));
    let whole = fs::read_to_string(&first).unwrap();
    let last_line = whole.trim_end().rfind('\n').unwrap() + 1;
    // The counters after the counts of the last line are covered too: 4 for users, 9 for messages.
    // The time of the export is not part of the store.
    let covered = timeless(&whole[..last_line]) + "4 9";
    assert_eq!(digest(&exported), hex(covered.as_bytes()));
    assert!(whole[last_line..].contains(&hex(&whole.as_bytes()[..last_line])), "every byte");

    let imported = import(&new.path().join("data"), &first);
    assert_eq!(digest(&imported), digest(&exported));
    assert_eq!(digest(&export(&new.path().join("data"), &second)), digest(&exported));
    assert_eq!(timeless(&fs::read_to_string(&second).unwrap()), timeless(&whole));

    // The command and the flag, a file and a pipe: all the same.
    let piped = tempfile::tempdir().unwrap();
    let data = piped.path().join("data");
    let mut command = veche();
    command.arg("import").arg("--data-dir").arg(&data).stdin(File::open(&first).unwrap());
    assert_eq!(digest(&run(&mut command)), digest(&exported));
    let out = run(veche().arg("export").arg("--data-dir").arg(&data));
    assert_eq!(timeless(&String::from_utf8(out.stdout).unwrap()), timeless(&whole));
    let verified = run(veche().args(["import", "--store", "memory"]).arg(&first));
    assert_eq!(digest(&verified), digest(&exported));

    let flag = ["--import".as_ref(), first.as_os_str()];
    let flagged = tempfile::tempdir().unwrap();
    for server in [
        Server::start("sled", new.path()),
        Server::start("sled", piped.path()),
        Server::start_with("sled", flagged.path(), &flag),
    ] {
        let ann = Client::new(&server).log_in("ann");
        assert_eq!(views(&ann), seen, "not a byte differs");
        assert_eq!(Client::new(&server).log_in("BOB").id(), 2);
        assert_eq!(ann.say("more"), 9, "ids go on");
        let taken = ann.post("/register", &credentials("SILENT", "1234"));
        assert_eq!(taken.problem(), "username-taken");
        assert_eq!(Client::new(&server).sign_up("fourth").id(), 4);
    }
}

#[test]
fn a_store_is_not_imported_into() {
    let dir = tempfile::tempdir().unwrap();
    lived_in(dir.path());
    let (data, file) = (dir.path().join("data"), dir.path().join("export"));
    fs::write(&file, make_up_export(3, 10)).unwrap();
    let before = digest(&export(&data, &dir.path().join("before")));
    for command in [
        veche().arg("import").arg(&file).arg("--data-dir").arg(&data),
        veche()
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            .arg("--import")
            .arg(&file),
    ] {
        let refused = run(command.arg("--log=error"));
        assert_eq!(refused.status.code(), Some(1));
        assert_eq!(stderr(&refused).lines().count(), 1, "{}", stderr(&refused));
        assert!(stderr(&refused).contains("already holds a store"), "{}", stderr(&refused));
        assert_eq!(String::from_utf8(refused.stdout).unwrap(), "");
    }
    assert_eq!(digest(&export(&data, &dir.path().join("after"))), before);
}

#[test]
fn a_store_that_cannot_be_exported_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (data, nowhere) = (dir.path().join("data"), dir.path().join("nowhere"));
    let file = dir.path().join("export");
    let running = Server::start("sled", dir.path());
    let refuse = |output: Output, named: &str| {
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{named}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{named}: {stderr}");
        assert!(stderr.starts_with("veche: ") && stderr.contains(named), "{named}: {stderr}");
        assert!(!file.exists(), "{named}");
    };
    refuse(export(&data, &file), "in use");
    refuse(import(&data, &file), "in use");
    refuse(export(&nowhere, &file), "no store");
    assert!(!nowhere.exists(), "an export makes nothing");
    refuse(run(veche().args(["export", "--store", "memory"]).arg(&file)), "memory");
    running.stop();
    fs::write(&file, "precious").unwrap();
    assert_eq!(export(&data, &file).status.code(), Some(1));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

/// Refused with the number of the line, and no store is begun.
#[test]
fn a_damaged_file_is_refused_by_its_line() {
    let good = String::from_utf8(make_up_export(3, 10)).unwrap();
    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    let [head, user, first, second, third, end] = lines[..] else { panic!("{good}") };
    let with_id = |line: &str, id: &str| line.replacen("\"id\":1", id, 1);
    let to_nobody = first.replace("\"to_user\":0", "\"to_user\":2");
    let digested = |lines: &[&str], users| close(lines.concat(), users, 3);
    let cases: Vec<(&str, Vec<u8>, u64)> = vec![
        ("nothing", Vec::new(), 1),
        ("something else", b"{}\n".to_vec(), 1),
        ("bytes", vec![0xff; 100], 1),
        ("no head", good[head.len()..].into(), 1),
        ("a newer version", good.replacen("\"version\":2", "\"version\":9", 1).into(), 1),
        ("a bad epoch", good.replacen("0123456789abcdef", "0123456789ABCDEF", 1).into(), 1),
        ("cut in a line", good[..head.len() + user.len() + 5].into(), 3),
        ("cut behind a line", good[..good.len() - end.len()].into(), 6),
        ("cut in the last line", good[..good.len() - 1].into(), 6),
        ("a changed text", good.replacen("1 mmm", "1 nnn", 1).into(), 6),
        ("a changed digest", good.replacen("sha256\":\"", "sha256\":\"0", 1).into(), 6),
        ("a lost line", [head, user, first, third, end].concat().into(), 5),
        ("a line twice", [head, user, first, second, second, third, end].concat().into(), 5),
        ("lines in another order", [head, user, second, first, third, end].concat().into(), 4),
        ("a blank line", [head, user, first, "\n", second, third, end].concat().into(), 4),
        ("something behind the end", format!("{good}\n").into(), 7),
        ("an unknown record", [head, user, "{\"pigeon\":{}}\n", end].concat().into(), 3),
        ("too long a line", format!("{head}{}\n", " ".repeat(100_000)).into(), 2),
        ("a bad name", digested(&[head, &user.replace("author", "au\\u001bthor")], 1), 2),
        ("a costly hash", digested(&[head, &user.replace("\"-\"", COSTLY)], 1), 2),
        ("a name twice", digested(&[head, user, &with_id(user, "\"id\":2")], 2), 3),
        ("user 0", digested(&[head, &with_id(user, "\"id\":0")], 1), 2),
        ("an author who is not there", digested(&[head, first], 0), 2),
        ("a receiver who is not there", digested(&[head, user, &to_nobody], 1), 3),
        (
            "counters that go back",
            good.replacen("\"next_message\":3", "\"next_message\":2", 1).into(),
            6,
        ),
    ];
    for (what, bytes, line) in cases {
        let dir = tempfile::tempdir().unwrap();
        let (data, file) = (dir.path().join("data"), dir.path().join("export"));
        fs::write(&file, bytes).unwrap();
        let serve = ["--listen=127.0.0.1:0", "--log=error", "--import"];
        for command in [
            veche().arg("import").arg(&file).arg("--data-dir").arg(&data),
            veche().args(["--store", "memory", "import"]).arg(&file),
            veche().arg("--data-dir").arg(&data).args(serve).arg(&file),
            veche().args(["--store", "memory"]).args(serve).arg(&file),
        ] {
            let refused = run(command);
            let stderr = stderr(&refused);
            assert_eq!(refused.status.code(), Some(1), "{what}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{what}: {stderr}");
            assert!(stderr.contains(&format!("line {line}:")), "{what}, line {line}: {stderr}");
            assert_eq!(refused.stdout, b"", "{what}");
        }
        assert!(!data.exists(), "{what}: nothing is left behind");
        fs::write(&file, &good).unwrap();
        let imported = import(&data, &file);
        assert_eq!(imported.status.code(), Some(0), "{what}: {}", stderr(&imported));
    }
}

/// One KiB more than this server's own, in JSON.
const COSTLY: &str = "\"$argon2id$v=19$m=19457,t=2,p=1$AAAAAAAAAAA$AAAAAAAA\"";

/// A store may hold one that an earlier version imported. It has one lane too many, which costs
/// nothing; it could equally ask for all memory.
#[test]
fn a_hash_with_excessive_parameters_is_never_verified() {
    let dir = tempfile::tempdir().unwrap();
    let config = argon2::Config { lanes: 2, mem_cost: 64, ..argon2::Config::default() };
    let hash = argon2::hash_encoded(PASSWORD.as_bytes(), &[7; 16], &config).unwrap();
    let mut store = LogStore::open(&dir.path().join("data"), StoreId(1), &mut ()).unwrap();
    let name = Username::parse("costly").unwrap();
    let created_at = Timestamp::from_millis(1);
    store.create_user(NewUser { name, password_hash: hash.into(), created_at }).unwrap();
    store.sync().unwrap();
    drop(store);

    let server = Server::start("sled", dir.path());
    let nobody = Client::new(&server);
    let refused = nobody.post("/login", &credentials("costly", PASSWORD));
    assert_eq!((refused.status, &*refused.problem()), (401, "wrong-credentials"));
    let unknown = nobody.post("/login", &credentials("unknown", PASSWORD));
    assert_eq!(refused.json()["detail"], unknown.json()["detail"], "a client is told no more");
    let told = server.log();
    assert!(told.contains("the password hash of user 1 requires more"), "{told}");
    let ann = Client::signed_up(&server, "ann");
    assert_eq!(ann.say("others go on"), 0);
    server.stop();

    let checked = run(veche().arg("check").arg("--data-dir").arg(dir.path().join("data")));
    assert_eq!(checked.status.code(), Some(1));
    let found = String::from_utf8(checked.stdout).unwrap();
    assert!(found.contains("the password hash asks for more"), "{found}");
}

/// All or nothing, at any kill.
#[test]
fn an_import_that_is_killed_leaves_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("export"));
    fs::write(&file, make_up_export(20_000, 50)).unwrap();
    let _pass = turnstile::shared();
    let mut command = veche();
    command.arg("import").arg(&file).arg("--data-dir").arg(&data);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let log_bytes = || -> Option<u64> {
        let log = fs::read_dir(data.join("unfinished-import/log")).ok()?.next()?.ok()?;
        Some(log.metadata().ok()?.len())
    };
    let begun = until(PATIENCE, || log_bytes().filter(|bytes| *bytes > 10_000));
    child.kill().unwrap();
    child.wait().unwrap();
    begun.expect("an import begins");
    assert!(!data.join("log").exists(), "the import was not done yet");
    let imported = import(&data, &file);
    assert!(stderr(&imported).contains("20000 messages"), "{}", stderr(&imported));
    digest(&imported);
    let names = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["LOCK", "index", "index.seal", "log"], "nothing else is left");
}
