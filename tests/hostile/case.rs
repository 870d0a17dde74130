//! A case: the bytes of a hostile client, and the permitted outcomes. A file in `cases/`.
//!
//! The first line describes the case. These lines follow:
//!
//! | line | effect |
//! |---|---|
//! | `> text` | sends the text and a CRLF |
//! | `>> text` | sends the text as it is |
//! | `repeat N "text"` | sends it this many times |
//! | `drip TIME "text"` | sends it byte by byte, with this pause before each byte |
//! | `pause TIME` | sends nothing for this time |
//! | `answer` | waits for the next final answer |
//! | `half-close` | half-closes the connection |
//! | `reset` | resets the connection |
//! | `deaf` | never reads; must come first |
//! | `connections N` | this many do the same at once; must come first |
//! | `direct: OUTCOME` | the permitted outcomes from veche itself; see [`Outcome`] |
//! | `nginx: OUTCOME` | the same through the front |
//! | `unheard: N` | this many messages may be stored without an answer |
//! | `leaks: N` | this many connections are lost for good if tiny_http gets it directly |
//!
//! In a text, `\r`, `\n`, `\t`, `\0`, `\\`, `\"` and `\xNN` are bytes, and `{post}`, `{me}`, `{page}`,
//! `{parked}`, `{stream}` and `{message}` stand for the values in [`Words`].

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::outcome::Outcome;

/// One hostile client, or several of the same kind.
#[derive(Debug)]
pub(crate) struct Case {
    /// The file's path below `cases/`, without its extension.
    pub(crate) name: String,
    /// The description of the case in the table.
    pub(crate) what: String,
    /// The position of the case in the list; its messages contain it.
    pub(crate) number: usize,
    pub(crate) connections: usize,
    pub(crate) is_deaf: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) direct: Outcome,
    pub(crate) nginx: Outcome,
    pub(crate) unheard: usize,
    pub(crate) leaks: usize,
}

#[derive(Debug)]
pub(crate) enum Step {
    /// Sends a text a number of times.
    Send(String, usize),
    Drip(Duration, String),
    Pause(Duration),
    Answer,
    HalfClose,
    Reset,
}

/// The values of the placeholders.
pub(crate) struct Words<'a> {
    pub(crate) token: &'a str,
    pub(crate) number: usize,
}

/// The longest total duration of a quick case's steps.
const QUICK: Duration = Duration::from_secs(2);

/// The directory of the cases.
pub(crate) const DIR: &str = "tests/hostile/cases";

/// All cases, in the order of their names.
pub(crate) fn all() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(DIR);
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let parse = |(number, file): (usize, &PathBuf)| {
        let name = file.strip_prefix(&root).expect("it is below").with_extension("");
        let text = fs::read_to_string(file).expect("a case can be read");
        Case::parse(&name.display().to_string(), number, &text)
            .unwrap_or_else(|why| panic!("{}: {why}", file.display()))
    };
    files.iter().enumerate().map(parse).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory of cases") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "case") {
            files.push(path);
        } else {
            panic!("{} is no case", path.display());
        }
    }
}

impl Case {
    /// Returns whether the case's own pauses take long.
    pub(crate) fn takes_long(&self) -> bool {
        let pauses = self.steps.iter().map(|step| match step {
            Step::Drip(interval, text) => *interval * u32::try_from(text.len()).unwrap_or(u32::MAX),
            Step::Pause(time) => *time,
            _ => Duration::ZERO,
        });
        pauses.sum::<Duration>() > QUICK
    }

    fn parse(name: &str, number: usize, text: &str) -> Result<Case, String> {
        let mut lines = text.lines();
        let what = lines.next().filter(|line| !line.is_empty()).ok_or("it does not say what")?;
        let (mut direct, mut nginx) = (None, None);
        let (mut connections, mut is_deaf, mut unheard, mut leaks) = (1, false, 0, 0);
        let mut steps = Vec::new();
        for line in lines {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "" => {}
                ">" => steps.push(Step::Send(format!("{rest}\\r\\n"), 1)),
                ">>" => steps.push(Step::Send(rest.to_owned(), 1)),
                "repeat" => {
                    let (count, text) = quoted(rest)?;
                    steps.push(Step::Send(text.to_owned(), parsed(count)?));
                }
                "drip" => {
                    let (interval, text) = quoted(rest)?;
                    steps.push(Step::Drip(duration(interval)?, text.to_owned()));
                }
                "pause" => steps.push(Step::Pause(duration(rest)?)),
                "answer" => steps.push(Step::Answer),
                "half-close" => steps.push(Step::HalfClose),
                "reset" => steps.push(Step::Reset),
                "deaf" => is_deaf = true,
                "connections" => connections = parsed(rest)?,
                "direct:" => direct = Some(Outcome::parse(rest)?),
                "nginx:" => nginx = Some(Outcome::parse(rest)?),
                "unheard:" => unheard = parsed(rest)?,
                "leaks:" => leaks = parsed(rest)?,
                _ => return Err(format!("nobody knows what this does: {line}")),
            }
        }
        Ok(Case {
            name: name.to_owned(),
            what: what.to_owned(),
            number,
            connections,
            is_deaf,
            steps,
            direct: direct.ok_or("it does not say what may come of it directly")?,
            nginx: nginx.ok_or("it does not say what may come of it behind nginx")?,
            unheard,
            leaks,
        })
    }
}

fn parsed(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("no number: {text:?}"))
}

fn duration(text: &str) -> Result<Duration, String> {
    if let Some(millis) = text.strip_suffix("ms") {
        return Ok(Duration::from_millis(parsed(millis)? as u64));
    }
    let seconds = text.strip_suffix('s').ok_or_else(|| format!("no time: {text:?}"))?;
    Ok(Duration::from_secs(parsed(seconds)? as u64))
}

/// Splits a line into the words before a quoted text, and the text.
fn quoted(text: &str) -> Result<(&str, &str), String> {
    let (before, rest) = text.split_once(" \"").ok_or("no text in quotes")?;
    Ok((before, rest.strip_suffix('"').ok_or("a text without an end")?))
}

impl Words<'_> {
    /// The bytes of a text in a case.
    pub(crate) fn bytes(&self, text: &str) -> Vec<u8> {
        let Words { token, number } = self;
        let head =
            |line: &str| format!("{line}\\r\\nHost: veche\\r\\nAuthorization: Bearer {token}");
        let text = text
            .replace("{post}", &head("POST /api/messages HTTP/1.1"))
            .replace("{me}", &head("GET /api/users/me HTTP/1.1"))
            .replace("{page}", &head("GET /api/messages?limit=1000 HTTP/1.1"))
            // A sender that does not exist, so that nothing ends the wait.
            .replace(
                "{parked}",
                &head("GET /api/users/me/messages?with=9007199254740991&after=-1&wait=20 HTTP/1.1"),
            )
            .replace(
                "{stream}",
                &format!("{}\\r\\nAccept: text/event-stream", head("GET /api/events HTTP/1.1")),
            )
            // 20 bytes, or 14 in hexadecimal.
            .replace("{message}", &format!(r#"{{"text":"case {number:04}"}}"#))
            .replace("{token}", token);
        unescaped(&text)
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        bytes.extend(before.as_bytes());
        let mut chars = escape.chars();
        match chars.next() {
            Some('r') => bytes.push(b'\r'),
            Some('n') => bytes.push(b'\n'),
            Some('t') => bytes.push(b'\t'),
            Some('0') => bytes.push(0),
            Some('x') => {
                let digits = escape.get(1..3).expect("two digits behind \\x");
                bytes.push(u8::from_str_radix(digits, 16).expect("hexadecimal behind \\x"));
                chars = escape[3..].chars();
            }
            Some(c @ ('\\' | '"')) => bytes.push(c as u8),
            other => panic!("nobody knows what this stands for: \\{other:?}"),
        }
        rest = chars.as_str();
    }
    bytes.extend(rest.as_bytes());
    bytes
}

#[test]
fn texts_are_bytes() {
    let words = Words { token: "T", number: 7 };
    assert_eq!(words.bytes(r#"\x16\xFF\0a\r\n\\\""#), b"\x16\xff\0a\r\n\\\"");
    assert_eq!(words.bytes("{message}"), br#"{"text":"case 0007"}"#);
    let me = "GET /api/users/me HTTP/1.1\r\nHost: veche\r\nAuthorization: Bearer T";
    assert_eq!(words.bytes("{me}"), me.as_bytes());
}

#[test]
fn a_case_that_makes_no_sense_is_refused() {
    let whole = "what\n> GET / HTTP/1.1\n>\ndirect: 404, lives\nnginx: 404, lives\n";
    assert!(Case::parse("x", 0, whole).is_ok());
    for (from, to) in [
        ("what", ""),
        (">\n", "sleep\n"),
        (">\n", "repeat many \"x\"\n"),
        (">\n", "repeat 5 \"x\n"),
        (">\n", "pause 5\n"),
        ("direct: 404, lives\n", ""),
        ("nginx: 404, lives", "nginx: 404, dies"),
    ] {
        assert!(Case::parse("x", 0, &whole.replacen(from, to, 1)).is_err(), "{to}");
    }
}
