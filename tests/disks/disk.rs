//! A model of a disk during a power cut: what it is certain to have, what it may have, and every
//! state that the cut may leave it in.
//!
//! The model is harsher than any one file system. A write that was not synced may reach the disk
//! sector by sector, in any order; a file's length independently; a name that was not synced with
//! its directory may or may not be there, independently of others. Syncing a file guarantees
//! nothing about its name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::random::Random;
use crate::trace::Event;

/// Possible sizes of a sector, which is written as a whole or not at all.
const SECTORS: [usize; 2] = [512, 4096];

/// A directory tree, from a root that always exists.
pub(crate) struct Disk {
    root: PathBuf,
    /// The first one is the root's. None is ever removed: a name may lead back to it.
    nodes: Vec<Node>,
}

#[derive(Clone)]
enum Node {
    File { durable: Vec<u8>, pending: Vec<Change> },
    Dir { durable: Names, pending: Vec<Entry> },
}

type Names = BTreeMap<String, usize>;

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { len: usize },
}

/// An atomic change to a directory's names.
#[derive(Clone)]
struct Entry {
    remove: Option<String>,
    add: Option<(String, usize)>,
}

/// The part of the unsynced changes that a power cut leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// Nothing.
    Nothing,
    /// Everything, as after a kill.
    Everything,
    /// All but the end, in the order of the calls: the last write is torn.
    Front,
    /// Any part of it.
    Anything,
}

/// The files and, as `None`, directories of a tree, by their paths below the root.
pub(crate) type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

impl Disk {
    /// A disk with the content of `root`, durably.
    pub(crate) fn of(root: &Path) -> Disk {
        let empty = Node::Dir { durable: Names::new(), pending: Vec::new() };
        let mut disk = Disk { root: root.to_owned(), nodes: vec![empty] };
        let there = if root.exists() { read(root) } else { Tree::new() };
        // A directory comes before its content.
        for (path, content) in there.into_iter().filter(|(path, _)| *path != PathBuf::new()) {
            let path = root.join(path);
            disk.add(
                &path,
                match content {
                    Some(durable) => Node::File { durable, pending: Vec::new() },
                    None => Node::Dir { durable: Names::new(), pending: Vec::new() },
                },
            );
            disk.sync(path.parent().expect("the root at least"));
        }
        disk
    }

    /// Applies an event.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Create { path } if self.find(path).is_none() => {
                self.add(path, Node::File { durable: Vec::new(), pending: Vec::new() });
            }
            // A `mkdir` that was begun when another thread was traced may have failed: the
            // directory existed already.
            Event::Mkdir { path } if self.find(path).is_none() => {
                self.add(path, Node::Dir { durable: Names::new(), pending: Vec::new() });
            }
            Event::Create { .. } | Event::Mkdir { .. } | Event::Reply { .. } => {}
            Event::Write { path, offset, bytes } => {
                self.change(path, Change::Write { offset: *offset, bytes: bytes.clone() });
            }
            Event::Truncate { path, len } => self.change(path, Change::Truncate { len: *len }),
            Event::Rename { from, to } => {
                assert_eq!(from.parent(), to.parent(), "within a directory");
                let node = self.find(from).expect("a file that is renamed");
                let entry = Entry { remove: Some(name_of(from)), add: Some((name_of(to), node)) };
                self.enter(from, entry);
            }
            Event::Remove { path } => {
                self.enter(path, Entry { remove: Some(name_of(path)), add: None });
            }
            Event::Sync { path } => self.sync(path),
        }
    }

    fn add(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        let add = Some((name_of(path), self.nodes.len() - 1));
        self.enter(path, Entry { remove: None, add });
    }

    fn enter(&mut self, path: &Path, entry: Entry) {
        let dir = self.find(path.parent().expect("a directory")).expect("one that is there");
        let Node::Dir { pending, .. } = &mut self.nodes[dir] else { panic!("no directory") };
        pending.push(entry);
    }

    fn change(&mut self, path: &Path, change: Change) {
        let node = self.find(path).unwrap_or_else(|| panic!("no {}", path.display()));
        let Node::File { pending, .. } = &mut self.nodes[node] else { panic!("no file") };
        pending.push(change);
    }

    fn sync(&mut self, path: &Path) {
        // A file that is removed already can be synced, and does not matter.
        let Some(node) = self.find(path) else { return };
        match &mut self.nodes[node] {
            Node::File { durable, pending } => {
                for change in pending.drain(..) {
                    change.apply(durable, |_| true);
                }
            }
            Node::Dir { durable, pending } => {
                for entry in pending.drain(..) {
                    entry.apply(durable);
                }
            }
        }
    }

    /// The node that has this path for running processes.
    fn find(&self, path: &Path) -> Option<usize> {
        let mut node = 0;
        for name in path.strip_prefix(&self.root).expect("a path below the root") {
            let Node::Dir { durable, pending } = &self.nodes[node] else { return None };
            let mut names = durable.clone();
            for entry in pending {
                entry.apply(&mut names);
            }
            node = *names.get(name.to_str()?)?;
        }
        Some(node)
    }

    /// One of the states that a power cut may leave.
    pub(crate) fn cut(&self, cut: Cut, random: &mut Random) -> Tree {
        let mut tree = Tree::new();
        let luck = Luck {
            cut,
            sector: SECTORS[usize::from(random.percent(50))],
            chance: [10, 50, 90][usize::try_from(random.below(3)).unwrap()],
        };
        self.survive(0, Path::new(""), luck, random, &mut tree);
        tree
    }

    /// Takes over the actual tree after a run. A kill may interrupt a call, of which the trace
    /// knows only the beginning; nothing else may differ.
    pub(crate) fn settle(&mut self, after: &Tree) {
        let live = self.cut(Cut::Everything, &mut Random::of(0));
        let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&live), names(after), "the names that are there");
        let mut differing = 0;
        for (path, bytes) in after {
            let Some(content) = bytes else { continue };
            if live[path] == *bytes {
                continue;
            }
            differing += 1;
            let path = self.root.join(path);
            self.change(&path, Change::Write { offset: 0, bytes: content.clone() });
            self.change(&path, Change::Truncate { len: content.len() });
        }
        assert!(differing <= 1, "{differing} files are not as they should be");
    }

    fn survive(&self, node: usize, path: &Path, luck: Luck, random: &mut Random, tree: &mut Tree) {
        match &self.nodes[node] {
            Node::File { durable, pending } => {
                let content = luck.content(durable, pending, random);
                tree.insert(path.to_owned(), Some(content));
            }
            Node::Dir { durable, pending } => {
                tree.insert(path.to_owned(), None);
                let mut names = durable.clone();
                for entry in pending {
                    if luck.keeps(random) {
                        entry.apply(&mut names);
                    }
                }
                for (name, node) in names {
                    self.survive(node, &path.join(name), luck, random, tree);
                }
            }
        }
    }
}

/// The choices for one state that a power cut leaves.
#[derive(Clone, Copy)]
struct Luck {
    cut: Cut,
    sector: usize,
    /// The chance, in percent, that a sector or a name is kept, for [`Cut::Anything`].
    chance: u64,
}

impl Luck {
    fn keeps(self, random: &mut Random) -> bool {
        match self.cut {
            Cut::Nothing => false,
            Cut::Everything | Cut::Front => true,
            Cut::Anything => random.percent(self.chance),
        }
    }

    fn content(self, durable: &[u8], pending: &[Change], random: &mut Random) -> Vec<u8> {
        let mut content = durable.to_vec();
        let mut live = durable.to_vec();
        for (index, change) in pending.iter().enumerate() {
            change.apply(&mut live, |_| true);
            if let (Cut::Front, Change::Write { offset, bytes }) = (self.cut, change)
                && index + 1 == pending.len()
            {
                let first = offset / self.sector;
                let sectors = (offset + bytes.len()).div_ceil(self.sector) - first;
                let kept = random.below(sectors as u64 + 1);
                change.apply(&mut content, |at| ((at / self.sector - first) as u64) < kept);
            } else {
                let mut kept = BTreeMap::new();
                let sector = self.sector;
                change.apply(&mut content, |at| {
                    *kept.entry(at / sector).or_insert_with(|| self.keeps(random))
                });
            }
        }
        // The length is independent of the bytes.
        if matches!(self.cut, Cut::Front | Cut::Anything) && random.percent(30) {
            content.resize(live.len(), 0);
        }
        content
    }
}

impl Change {
    /// Applies the write to `content`, as far as its sectors are kept.
    fn apply(&self, content: &mut Vec<u8>, mut keeps: impl FnMut(usize) -> bool) {
        match self {
            Change::Truncate { len } => {
                if keeps(*len) {
                    content.resize(*len, 0);
                }
            }
            Change::Write { offset, bytes } => {
                // Sectors of every size begin where the smallest ones do.
                let smallest = SECTORS[0];
                let mut from = *offset;
                while from < offset + bytes.len() {
                    let to = ((from / smallest + 1) * smallest).min(offset + bytes.len());
                    if keeps(from) {
                        content.resize(content.len().max(to), 0);
                        content[from..to].copy_from_slice(&bytes[from - offset..to - offset]);
                    }
                    from = to;
                }
            }
        }
    }
}

impl Entry {
    fn apply(&self, names: &mut Names) {
        if let Some(name) = &self.remove {
            names.remove(name);
        }
        if let Some((name, node)) = &self.add {
            names.insert(name.clone(), *node);
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned()
}

/// The tree in `dir`.
pub(crate) fn read(dir: &Path) -> Tree {
    let mut tree = Tree::from([(PathBuf::new(), None)]);
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(name_of(&path));
        if path.is_dir() {
            tree.extend(read(&path).into_iter().map(|(below, it)| (name.join(below), it)));
        } else {
            tree.insert(name, Some(fs::read(&path).unwrap()));
        }
    }
    tree
}

/// Writes a tree to `dir`, which must not exist.
pub(crate) fn lay_out(tree: &Tree, dir: &Path) {
    for (path, content) in tree {
        let path = dir.join(path);
        match content {
            None => fs::create_dir(path).unwrap(),
            Some(bytes) => fs::write(path, bytes).unwrap(),
        }
    }
}

#[test]
fn synced_changes_are_in_every_state_and_others_in_some() {
    let mut random = Random::new(3);
    let mut disk = Disk::of(Path::new("/no/such/dir"));
    let path = |name: &str| Path::new("/no/such/dir").join(name);
    let (a, b) = (path("a"), path("b"));
    let mut names = std::collections::BTreeSet::new();
    let mut lens = std::collections::BTreeSet::new();
    for event in [
        Event::Create { path: a.clone() },
        Event::Write { path: a.clone(), offset: 0, bytes: vec![1; 700] },
        Event::Sync { path: a.clone() },
        Event::Sync { path: path("") },
        Event::Write { path: a.clone(), offset: 700, bytes: vec![2; 700] },
        Event::Rename { from: a, to: b },
    ] {
        disk.apply(&event);
    }
    for _ in 0..200 {
        let tree = disk.cut(Cut::Anything, &mut random);
        let [(_, None), (name, Some(content))] = &tree.iter().collect::<Vec<_>>()[..] else {
            panic!("one name or the other: {tree:?}");
        };
        assert_eq!(content[..700], [1; 700]);
        assert!(content[700..].iter().all(|byte| [0, 2].contains(byte)));
        names.insert((*name).clone());
        lens.insert(content.len());
    }
    assert_eq!(names, [PathBuf::from("a"), PathBuf::from("b")].into());
    assert_eq!(lens, [700, 1024, 1400].into());
    let everything = disk.cut(Cut::Everything, &mut random);
    assert_eq!(everything[Path::new("b")], Some([[1; 700], [2; 700]].concat()));
    let nothing = disk.cut(Cut::Nothing, &mut random);
    assert_eq!(nothing[Path::new("a")], Some(vec![1; 700]));
}
