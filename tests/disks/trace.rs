//! A run of the server as strace saw it: changes to its files and its answers, in order.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Create {
        path: PathBuf,
    },
    Mkdir {
        path: PathBuf,
    },
    Write {
        path: PathBuf,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        path: PathBuf,
        len: usize,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    /// A completed sync of a file or a directory.
    Sync {
        path: PathBuf,
    },
    /// Bytes that went to a client.
    Reply {
        bytes: Vec<u8>,
    },
}

/// Events below `root`, and the answers. A write counts from its beginning, a sync from its end:
/// anything between may go either way.
pub(crate) fn parse(text: &str, root: &Path) -> Vec<Event> {
    let mut events = Vec::new();
    let mut parser = Parser { root, cursors: HashMap::new() };
    let mut unfinished: HashMap<&str, &str> = HashMap::new();
    for line in text.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            if is_sync(begun) {
                unfinished.insert(pid, begun);
            } else {
                // It may still fail; for a crash meanwhile it counts as done.
                events.extend(parser.event(begun));
            }
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let begun = unfinished.remove(pid);
            let (_, result) = resumed.rsplit_once("= ").unwrap_or_default();
            events.extend(begun.filter(|_| result == "0").and_then(|begun| parser.event(begun)));
        } else if let Some((call, result)) = rest.rsplit_once(" = ")
            && !result.starts_with('-')
            && !(is_sync(call) && result != "0")
        {
            events.extend(parser.event(call.trim_end()));
        }
    }
    events
}

fn is_sync(call: &str) -> bool {
    call.starts_with("fsync(") || call.starts_with("fdatasync(")
}

struct Parser<'a> {
    root: &'a Path,
    /// The position of the next `write` to a file.
    cursors: HashMap<PathBuf, usize>,
}

impl Parser<'_> {
    /// The event of a call, whose line may end before the closing bracket.
    fn event(&mut self, call: &str) -> Option<Event> {
        let (name, args) = call.split_once('(')?;
        let args: Vec<&str> = args.trim_end_matches(')').split(", ").collect();
        match name {
            "openat" => {
                let path = self.below(args[0], args.get(1)?)?;
                self.cursors.remove(&path);
                let flags = args.get(2)?;
                assert!(!flags.contains("O_TRUNC") && !flags.contains("O_APPEND"), "{call}");
                flags.contains("O_CREAT").then_some(Event::Create { path })
            }
            "mkdir" => Some(Event::Mkdir { path: self.inside(unhex_path(args[0])?)? }),
            "rename" => Some(Event::Rename {
                from: self.inside(unhex_path(args[0])?)?,
                to: self.inside(unhex_path(args[1])?)?,
            }),
            "unlink" | "rmdir" => Some(Event::Remove { path: self.inside(unhex_path(args[0])?)? }),
            "unlinkat" => Some(Event::Remove { path: self.below(args[0], args[1])? }),
            "fsync" | "fdatasync" => Some(Event::Sync { path: self.descriptor(args[0])? }),
            "ftruncate" => {
                let len = args[1].parse().expect("a length");
                Some(Event::Truncate { path: self.descriptor(args[0])?, len })
            }
            "pwrite64" => {
                let (path, bytes) = (self.descriptor(args[0])?, unhex(args[1])?);
                Some(Event::Write { path, bytes, offset: args[3].parse().expect("an offset") })
            }
            "write" => {
                let (path, bytes) = (self.descriptor(args[0])?, unhex(args[1])?);
                let cursor = self.cursors.entry(path.clone()).or_default();
                let offset = *cursor;
                *cursor += bytes.len();
                Some(Event::Write { path, offset, bytes })
            }
            "sendto" if args[0].contains("<TCP:") => Some(Event::Reply { bytes: unhex(args[1])? }),
            // A kill interrupts a call like this.
            "sendto" | "???" => None,
            _ => panic!("a call that was not asked for: {call}"),
        }
    }

    /// The path of `7</the/path>`.
    fn descriptor(&self, arg: &str) -> Option<PathBuf> {
        self.inside(described_path(arg)?)
    }

    /// The path of a name in a directory's descriptor.
    fn below(&self, dir: &str, name: &str) -> Option<PathBuf> {
        self.inside(described_path(dir)?.join(unhex_path(name)?))
    }

    fn inside(&self, path: PathBuf) -> Option<PathBuf> {
        path.starts_with(self.root).then_some(path)
    }
}

/// The path of `7</the/path>`, which may be given in hexadecimal.
fn described_path(arg: &str) -> Option<PathBuf> {
    // A device has its number after it, in further brackets.
    let path = arg.split_once('<')?.1.strip_suffix('>')?.split('<').next()?;
    if path.starts_with("\\x") { unhex_path(&format!("\"{path}\"")) } else { Some(path.into()) }
}

fn unhex_path(quoted: &str) -> Option<PathBuf> {
    Some(PathBuf::from(String::from_utf8(unhex(quoted)?).ok()?))
}

/// The bytes of `"\x01\x02"`.
fn unhex(quoted: &str) -> Option<Vec<u8>> {
    let hex = quoted.strip_prefix('"')?.strip_suffix('"').expect("a string that is not cut short");
    let byte = |code: &str| {
        u8::from_str_radix(code, 16).unwrap_or_else(|_| panic!("no hexadecimal digits: {quoted}"))
    };
    Some(hex.split("\\x").skip(1).map(byte).collect())
}

#[test]
fn every_kind_of_line() {
    let text = r#"7 openat(AT_FDCWD</x>, "\x2f\x64\x2f\x61", O_WRONLY|O_CREAT|O_CLOEXEC, 0666) = 3</d/a>
7 openat(AT_FDCWD</x>, "\x2f\x65", O_WRONLY|O_CREAT|O_CLOEXEC, 0666) = 4</e>
7 write(3</d/a>, "\x01\x02", 2) = 2
7 write(3</d/a>, "\x03", 1 <unfinished ...>
8 fsync(3</d/a> <unfinished ...>
7 <... write resumed>) = 1
9 pwrite64(3<\x2f\x64\x2f\x61>, "\x05", 1, 9) = 1
8 <... fsync resumed>)              = 0
8 fsync(3</d/a>)                    = -1 EIO (Input/output error)
8 fsync(3</d/a>)                    = ?
8 ???( <unfinished ...>
8 fdatasync(5</d>)                  = 0
8 ftruncate(3</d/a>, 7)             = 0
8 rename("\x2f\x64\x2f\x61", "\x2f\x64\x2f\x62") = 0
8 unlinkat(5</d>, "\x62", 0)        = 0
8 mkdir("\x2f\x64\x2f\x63", 0777)   = -1 EEXIST (File exists)
8 sendto(6<TCP:[1->2]>, "\x4f\x4b", 2, MSG_NOSIGNAL, NULL, 0) = 2
7 +++ exited with 0 +++
"#;
    let (a, b, d) = (PathBuf::from("/d/a"), PathBuf::from("/d/b"), PathBuf::from("/d"));
    let expected = [
        Event::Create { path: a.clone() },
        Event::Write { path: a.clone(), offset: 0, bytes: vec![1, 2] },
        Event::Write { path: a.clone(), offset: 2, bytes: vec![3] },
        Event::Write { path: a.clone(), offset: 9, bytes: vec![5] },
        Event::Sync { path: a.clone() },
        Event::Sync { path: d },
        Event::Truncate { path: a.clone(), len: 7 },
        Event::Rename { from: a, to: b.clone() },
        Event::Remove { path: b },
        Event::Reply { bytes: b"OK".to_vec() },
    ];
    assert_eq!(parse(text, Path::new("/d")), expected);
}
