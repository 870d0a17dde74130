//! `veche check` and `veche compact`: work on a store that no server has open.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::thread;
use std::time::Instant;

use crate::client::Client;
use crate::export::make_up_export;
use crate::extent::Extent;
use crate::server::{Server, run, veche};
use crate::transfer::{digest, import, lived_in, stderr, views};
use crate::turnstile;

/// Kills of a compaction, from its beginning to a little beyond its end.
const KILLS: Extent<u32> = Extent { short: 6, long: 30 };

fn check(data: &Path) -> Output {
    run(veche().arg("check").arg("--data-dir").arg(data))
}

fn compact(data: &Path) -> Output {
    run(veche().arg("compact").arg("--data-dir").arg(data))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn exported(data: &Path) -> String {
    digest(&run(veche().arg("export").arg("--data-dir").arg(data)))
}

#[test]
fn a_store_is_checked_and_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let seen = lived_in(dir.path());
    let data = dir.path().join("data");
    let before = exported(&data);
    let checked = check(&data);
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    let text = stdout(&checked);
    assert!(
        text.starts_with(
            "3 users, 9 messages (4 general, 5 private), 0 edits and deletions, 0 moderations\nlog: "
        ),
        "{text}"
    );
    assert!(text.ends_with("index: agrees with the log\n"), "{text}");
    assert_eq!(stderr(&checked), "");

    let compacted = compact(&data);
    assert_eq!(compacted.status.code(), Some(0), "{}", stderr(&compacted));
    assert!(stderr(&compacted).starts_with("compacted the log from "), "{}", stderr(&compacted));
    assert_eq!(stdout(&check(&data)).lines().next(), text.lines().next());
    assert_eq!(exported(&data), before);
    let server = Server::start("sled", dir.path());
    let ann = Client::new(&server).log_in("ann");
    assert_eq!(views(&ann), seen, "not a byte differs");
    assert_eq!(ann.say("more"), 9);
}

#[test]
fn damage_is_told_and_a_torn_tail_is_none() {
    let dir = tempfile::tempdir().unwrap();
    lived_in(dir.path());
    let data = dir.path().join("data");
    let log = data.join("log/00000000000000000000.log");
    let good = fs::read(&log).unwrap();
    fs::write(&log, [&*good, &[0x5a; 37]].concat()).unwrap();
    let torn = check(&data);
    assert_eq!(torn.status.code(), Some(0), "{}", stdout(&torn));
    let place = format!("{}, from offset {}: ", log.display(), good.len());
    assert!(stdout(&torn).contains(&place), "{}", stdout(&torn));

    let mut bad = good.clone();
    for at in [70, good.len() - 100] {
        bad[at] ^= 1;
    }
    fs::write(&log, &bad).unwrap();
    let damaged = check(&data);
    assert_eq!(damaged.status.code(), Some(1));
    let text = stdout(&damaged);
    assert!(text.contains(&format!("{} is damaged at offset 40: ", log.display())), "{text}");
    assert_eq!(text.matches(" is damaged at offset ").count(), 2, "{text}");
    assert_eq!(stderr(&damaged), "veche: the store is damaged\n");
    assert_eq!(fs::read(&log).unwrap(), bad, "a check changes nothing");
    let refused = compact(&data);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("damaged at offset"), "{}", stderr(&refused));
    fs::write(&log, &good).unwrap();
    assert_eq!(check(&data).status.code(), Some(0));
}

#[test]
fn a_store_that_is_served_or_is_not_there_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let running = Server::start("sled", dir.path());
    let nowhere = dir.path().join("nowhere");
    for command in ["check", "compact"] {
        for (args, why) in [
            (
                vec![command.as_ref(), "--data-dir".as_ref(), dir.path().join("data").as_os_str()],
                "in use",
            ),
            (vec![command.as_ref(), "--data-dir".as_ref(), nowhere.as_os_str()], "no store"),
            (vec![command.as_ref(), "--store".as_ref(), "memory".as_ref()], "memory"),
        ] {
            let refused = run(veche().args(args));
            assert_eq!(refused.status.code(), Some(1), "{command}, {why}");
            assert_eq!(stderr(&refused).lines().count(), 1, "{}", stderr(&refused));
            assert!(stderr(&refused).contains(why), "{}", stderr(&refused));
        }
    }
    assert!(!nowhere.exists());
    running.stop();
}

/// Whenever it is killed, the store is there, and the next start cleans up.
#[test]
fn a_compaction_that_is_killed_loses_nothing() {
    const MESSAGES: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("export"));
    fs::write(&file, make_up_export(MESSAGES, 50)).unwrap();
    digest(&import(&data, &file));
    let before = exported(&data);
    let unfinished = data.join("unfinished-compaction");
    let begun = Instant::now();
    assert_eq!(compact(&data).status.code(), Some(0));
    let whole = begun.elapsed();
    let (mut interrupted, mut finished) = (0, 0);
    let _pass = turnstile::shared();
    let rounds = KILLS.now();
    for round in 0..rounds {
        let mut command = veche();
        command.arg("compact").arg("--data-dir").arg(&data);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Up to a little beyond its duration; the state at the kill depends on the machine, and any
        // instant must do.
        thread::sleep(whole * round / (rounds - 1));
        child.kill().unwrap();
        match child.wait().unwrap().code() {
            Some(0) => finished += 1,
            _ => interrupted += 1,
        }
        let checked = check(&data);
        assert_eq!(checked.status.code(), Some(0), "round {round}: {}", stdout(&checked));
        assert!(stdout(&checked).contains("20000 messages"), "{}", stdout(&checked));
        if round % 3 == 0 {
            assert_eq!(exported(&data), before, "round {round}");
            assert!(!unfinished.exists(), "the next start removes what was left");
        }
    }
    println!("{interrupted} interrupted, {finished} finished, {whole:?} each");
    assert!(interrupted > 0);
    assert_eq!(compact(&data).status.code(), Some(0));
    assert!(!unfinished.exists());
    assert_eq!(exported(&data), before);
    let server = Server::start("sled", dir.path());
    assert!(server.log().lines().all(|line| !line.contains("rebuilding")), "{}", server.log());
}
