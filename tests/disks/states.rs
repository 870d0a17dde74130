//! The states that power cuts leave: found moment by moment, each distinct one checked once, by as
//! many threads as there are processors.

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::iter;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::clients::Ledger;
use crate::disk::{Cut, Disk, Tree, lay_out};
use crate::random::Random;
use crate::stage::directory;
use crate::trace::Event;
use crate::verdict::{self, Told};

/// One of this many states is written to and opened once more.
const GONE_ON_EVERY: usize = 8;
/// The number of wrong states that are shown.
const SHOWN: usize = 5;

/// A state to check, and the part of the acknowledged writes that it must have.
pub(crate) struct Case {
    pub(crate) tree: Tree,
    pub(crate) told: usize,
    pub(crate) number: usize,
    when: String,
}

/// Goes through the events and cuts the power before each change to the disk, and at the end. At
/// each moment this many samples are taken of the states in which any part of what was not synced
/// may be kept.
pub(crate) fn cut_all_along(
    disk: &mut Disk,
    events: &[Event],
    told: &mut Vec<Told>,
    samples: usize,
    random: &mut Random,
    states: &mut States,
    mut found: impl FnMut(Case),
) {
    let mut cuts = vec![Cut::Nothing, Cut::Everything, Cut::Front];
    cuts.extend(iter::repeat_n(Cut::Anything, samples));
    let count = events.len();
    for (moment, event) in events.iter().map(Some).chain([None]).enumerate() {
        if matches!(event, Some(Event::Reply { .. })) {
            told.extend(event.into_iter().flat_map(told_in));
            continue;
        }
        for &cut in &cuts {
            let tree = disk.cut(cut, random);
            if states.is_new(&tree) {
                let when = format!("{cut:?} at {moment} of {count}, before {:?}", event.map(brief));
                found(Case { tree, told: told.len(), number: states.count(), when });
            }
        }
        if let Some(event) = event {
            disk.apply(event);
        }
    }
}

pub(crate) fn told_in(event: &Event) -> Vec<Told> {
    match event {
        Event::Reply { bytes } => verdict::told_by(bytes),
        _ => Vec::new(),
    }
}

/// An event without its bytes.
fn brief(event: &Event) -> String {
    let mut text = format!("{event:?}");
    text.truncate(120);
    text
}

/// The states seen so far.
#[derive(Default)]
pub(crate) struct States(HashSet<u64>);

impl States {
    fn is_new(&mut self, tree: &Tree) -> bool {
        let mut hasher = DefaultHasher::new();
        tree.hash(&mut hasher);
        self.0.insert(hasher.finish())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

/// Checks the cases that `find` sends, and fails with the first that is wrong.
pub(crate) fn look(
    told: &[Told],
    secret: &[u8],
    ledger: &Ledger,
    find: impl FnOnce(&SyncSender<Case>),
) {
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let (sender, receiver) = sync_channel::<Case>(threads);
    let receiver = Mutex::new(receiver);
    let failed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| look_on(&receiver, told, secret, ledger, &failed));
        }
        find(&sender);
        drop(sender);
    });
    assert_eq!(failed.into_inner(), 0, "states are wrong; see above");
}

fn look_on(
    cases: &Mutex<Receiver<Case>>,
    told: &[Told],
    secret: &[u8],
    ledger: &Ledger,
    failed: &AtomicUsize,
) {
    let dir = directory();
    loop {
        let case = cases.lock().unwrap().recv();
        let Ok(Case { tree, told: so_far, number, when }) = case else { return };
        let data = dir.path().join(number.to_string());
        lay_out(&tree, &data);
        let verdict = verdict::judge(&data, &told[..so_far], secret, ledger).and_then(|all| {
            let goes_on = number.is_multiple_of(GONE_ON_EVERY);
            if goes_on { verdict::go_on(&data, all) } else { Ok(()) }
        });
        if let Err(why) = verdict
            && failed.fetch_add(1, Ordering::Relaxed) < SHOWN
        {
            eprintln!("state {number}, {when}: {why}");
        }
        fs::remove_dir_all(&data).unwrap();
    }
}
