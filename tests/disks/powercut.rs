//! Power cuts at every moment of a store's life: what was only in the page cache is gone.
//!
//! Every call that changes the disk is one moment; each state that a cut there may leave is written
//! to files and opened.

use std::fs;
use std::sync::Mutex;

use veche::model::{MessageText, StoreId, Timestamp, UserId};
use veche::store::{Backend, LogStore, NewMessage};

use crate::clients::{Client, Ledger};
use crate::disk::{Disk, Tree, lay_out};
use crate::extent::Extent;
use crate::random::Random;
use crate::stage::{Stage, directory, late, told_by_all};
use crate::states::{States, cut_all_along, look, told_in};
use crate::strace;
use crate::trace::Event;
use crate::verdict::Told;

/// Fewer states than this prove too little.
const STATES_MIN: Extent<usize> = Extent { short: 300, long: 5_000 };
/// States at each moment in which any part of what was not synced may be kept.
const SAMPLES: Extent<usize> = Extent { short: 1, long: 9 };
/// One of this many states is recovered by a real server, under which the power is cut again.
const RECOVERED_EVERY: Extent<usize> = Extent { short: 300, long: 600 };
/// The length at which a segment of the log is followed by another one, in bytes.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// The longest text, in bytes; and more than a record takes in addition to it.
const LONGEST_TEXT: usize = 4096;
const RECORD_BYTES: u64 = 100;
/// Calls that are examined before and after the creation of a segment. Each state is a log of 64
/// MiB.
const AROUND: [usize; 2] = [1, 8];
const SEGMENT_SAMPLES: Extent<usize> = Extent { short: 0, long: 2 };

#[test]
fn no_power_cut_loses_what_was_acknowledged() {
    if strace::is_missing() {
        return;
    }
    let dir = directory();
    let ledger = Mutex::new(Ledger::default());
    let mut random = Random::new(17);
    let mut stage = Stage::new(dir.path(), &ledger);
    let mut disk = Disk::of(&stage.data());
    let runs = stage.lives();
    let secret = fs::read(stage.data().join("jwt-secret")).unwrap();
    let ledger = ledger.into_inner().unwrap();

    let (mut told, mut states) = (Vec::new(), States::default());
    let mut recovered = Vec::new();
    let told_then = told_by_all(&runs);
    look(&told_then, &secret, &ledger, |cases| {
        for run in &runs {
            cut_all_along(
                &mut disk,
                &run.events,
                &mut told,
                SAMPLES.now(),
                &mut random,
                &mut states,
                |case| {
                    if case.number % RECOVERED_EVERY.now() == RECOVERED_EVERY.now() - 1 {
                        recovered.push((case.tree.clone(), case.told));
                    }
                    cases.send(case).expect("somebody looks");
                },
            );
            disk.settle(&run.after);
        }
    });
    let first = states.count();
    let acknowledged = (ledger.messages.len(), ledger.users.len());
    println!("{first} states of {acknowledged:?} messages and users, none lost");
    let mut again = 0;
    for (tree, told) in recovered {
        again += cut_again(&tree, &told_then[..told], &secret, &ledger, &mut random);
    }
    println!("{again} states of a second cut during recovery, none lost");
    assert!(first + again >= STATES_MIN.now(), "{first} and {again} states");
}

/// Until its creation is complete, a store has nothing that could be lost. But the next start must
/// not rely on files that are not durable yet. So the store is killed at each sync of its first
/// start, and the power is cut during the next start, which finds everything there already.
#[test]
fn files_left_by_a_killed_start_are_not_taken_for_durable() {
    if strace::is_missing() {
        return;
    }
    let (mut random, mut count) = (Random::new(18), 0);
    for sync in 1.. {
        let (dir, ledger) = (directory(), Mutex::new(Ledger::default()));
        let mut stage = Stage::new(dir.path(), &ledger);
        let mut disk = Disk::of(&stage.data());
        let Some(killed) = stage.killed_at(sync) else {
            assert!(sync > 5, "a start syncs directories, log and secret");
            break;
        };
        let next = stage.live(late);
        let secret = fs::read(stage.data().join("jwt-secret")).unwrap();
        let runs = [killed, next];
        let (mut told, mut states) = (Vec::new(), States::default());
        look(&told_by_all(&runs), &secret, &ledger.into_inner().unwrap(), |cases| {
            for run in &runs {
                cut_all_along(
                    &mut disk,
                    &run.events,
                    &mut told,
                    SAMPLES.now(),
                    &mut random,
                    &mut states,
                    |case| {
                        cases.send(case).expect("somebody looks");
                    },
                );
                disk.settle(&run.after);
            }
        });
        count += states.count();
    }
    println!("{count} states of stores that were killed at their creation, none lost");
}

/// Cuts the power under a server that recovers from a power cut.
fn cut_again(
    tree: &Tree,
    told: &[Told],
    secret: &[u8],
    ledger: &Ledger,
    random: &mut Random,
) -> usize {
    let dir = directory();
    let ledger = &Mutex::new(ledger.after(told));
    lay_out(tree, &dir.path().join("data"));
    let mut stage = Stage { lives: random.below(1 << 40), ..Stage::new(dir.path(), ledger) };
    let mut disk = Disk::of(&stage.data());
    let run = stage.live(late);
    let mut all = told.to_vec();
    all.extend(run.events.iter().flat_map(told_in));
    // Without an earlier token there was perhaps no secret yet.
    let kept = fs::read(stage.data().join("jwt-secret")).unwrap();
    assert!(!told.contains(&Told::Token) || kept == secret);
    let (mut now, mut states) = (told.to_vec(), States::default());
    let ledger = ledger.lock().unwrap();
    look(&all, &kept, &ledger, |cases| {
        cut_all_along(
            &mut disk,
            &run.events,
            &mut now,
            SAMPLES.now(),
            random,
            &mut states,
            |case| {
                cases.send(case).expect("somebody looks");
            },
        );
    });
    states.count()
}

/// A segment is 64 MiB long, so the first one is filled beforehand, durably.
#[test]
fn no_power_cut_between_two_segments_loses_what_was_acknowledged() {
    if strace::is_missing() {
        return;
    }
    let (dir, ledger) = (directory(), Mutex::new(Ledger::default()));
    let mut stage = Stage::new(dir.path(), &ledger);
    stage.live(|server, stage| {
        let client = Client::new(server.addr());
        client.register("u1", stage.ledger).expect("an account");
        stage.token = client.log_in("u1").expect("a token").token;
        server.stop();
    });
    let mut told = fill_a_segment(&stage);
    let mut disk = Disk::of(&stage.data());
    let run = stage.live(|server, stage| {
        let client = Client::new(server.addr()).with_token(&stage.token);
        for n in 0..6 {
            let text = format!("{:x<LONGEST_TEXT$}", format!("behind {n} "));
            client.post(None, &text, stage.ledger).expect("a message");
        }
        server.kill();
    });
    let rotation = run.events.iter().position(
        |event| matches!(event, Event::Create { path } if path.extension() == Some("log".as_ref())),
    );
    let rotation = rotation.expect("a second segment");
    let (before, around) = run.events.split_at(rotation - AROUND[0]);
    for event in before {
        disk.apply(event);
        told.extend(told_in(event));
    }
    let secret = fs::read(stage.data().join("jwt-secret")).unwrap();
    let (mut now, mut states, mut random) = (told.clone(), States::default(), Random::new(19));
    let around = &around[..AROUND[0] + AROUND[1]];
    told.extend(around.iter().flat_map(told_in));
    look(&told, &secret, &ledger.into_inner().unwrap(), |cases| {
        cut_all_along(
            &mut disk,
            around,
            &mut now,
            SEGMENT_SAMPLES.now(),
            &mut random,
            &mut states,
            |case| {
                cases.send(case).expect("somebody looks");
            },
        );
    });
    assert_eq!(now, told);
    assert!(around.iter().any(|event| !told_in(event).is_empty()), "a message behind it");
    println!("{} states around the beginning of a segment, none lost", states.count());
}

/// Posts until the next message but one begins another segment.
fn fill_a_segment(stage: &Stage<'_>) -> Vec<Told> {
    let mut store = LogStore::open(&stage.data(), StoreId(7), &mut ()).unwrap();
    let mut ledger = stage.ledger.lock().unwrap();
    let mut told = vec![Told::User(1), Told::Token];
    let mut len = 0;
    while len + LONGEST_TEXT as u64 + 2 * RECORD_BYTES < SEGMENT_BYTES {
        let text = format!("{:x<LONGEST_TEXT$}", told.len());
        let (from, sent_at) = (UserId::FIRST, Timestamp::from_millis(1));
        let message = MessageText::parse(text.as_str().into()).unwrap();
        let posted = store.post(NewMessage { from, to: None, text: message, sent_at });
        let id = posted.unwrap().expect("a receiver for everybody").get();
        len += LONGEST_TEXT as u64 + RECORD_BYTES / 2;
        told.push(Told::Message(id));
        ledger.sent.insert(text.clone(), None);
        ledger.messages.insert(id, text);
        if id.is_multiple_of(500) {
            store.sync().unwrap();
            len = fs::metadata(stage.data().join("log/00000000000000000000.log")).unwrap().len();
        }
    }
    store.sync().unwrap();
    told
}
