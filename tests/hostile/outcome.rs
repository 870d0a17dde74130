//! The permitted outcomes of a case: the answers, in order, and what happens to the connection.
//!
//! `200, lives` means one answer, and a connection that serves the next request. Several answers
//! follow each other (`100 201, lives`); `200*` is any number of them, `200x40` forty; `nothing` is
//! none, and `raw` bytes without a status line. With `ends` the server ends the connection within
//! [`PATIENCE`](crate::play::PATIENCE); without a word about the connection nothing is promised.
//! `|` stands between alternatives.

use std::fmt::{self, Display, Formatter};

use crate::talk::{Heard, RAW};

#[derive(Debug)]
pub(crate) struct Outcome(Vec<Alternative>);

#[derive(Debug)]
struct Alternative {
    answers: Vec<(u16, Count)>,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    Times(usize),
    Any,
}

/// The fate of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The next request on it is answered.
    Lives,
    /// The server ends it.
    Ends,
    /// Not promised.
    Open,
}

impl Outcome {
    pub(crate) fn parse(text: &str) -> Result<Outcome, String> {
        text.split(" | ").map(Alternative::parse).collect::<Result<_, _>>().map(Outcome)
    }

    /// Returns the fate of the connection if the answers so far are complete for this outcome.
    pub(crate) fn fits(&self, heard: &Heard) -> Option<Fate> {
        let fitting = |it: &&Alternative| {
            (it.fate == Fate::Open || (it.fate == Fate::Ends) == heard.has_ended)
                && fit(&it.answers, &heard.statuses())
        };
        self.0.iter().find(fitting).map(|it| it.fate)
    }

    /// Returns whether a time-out is part of the outcome.
    pub(crate) fn takes_long(&self) -> bool {
        self.0.iter().any(|it| it.answers.is_empty() && it.fate == Fate::Ends)
    }
}

impl Alternative {
    fn parse(text: &str) -> Result<Alternative, String> {
        let (answers, fate) = match text.split_once(", ") {
            Some((answers, "lives")) => (answers, Fate::Lives),
            Some((answers, "ends")) => (answers, Fate::Ends),
            None => (text, Fate::Open),
            Some((_, fate)) => return Err(format!("nobody knows what this is: {fate}")),
        };
        let answers = if answers == "nothing" { "" } else { answers };
        let answers = answers.split_whitespace().map(|word| {
            let (status, count) = match (word.strip_suffix('*'), word.split_once('x')) {
                (Some(status), _) => (status, Count::Any),
                (_, Some((status, count))) => {
                    (status, Count::Times(count.parse().map_err(|_| format!("{word}?"))?))
                }
                _ => (word, Count::Times(1)),
            };
            let status = if status == "raw" { Ok(RAW) } else { status.parse() };
            Ok((status.map_err(|_| format!("no status: {word}"))?, count))
        });
        Ok(Alternative { answers: answers.collect::<Result<_, String>>()?, fate })
    }
}

fn fit(expected: &[(u16, Count)], found: &[u16]) -> bool {
    match expected {
        [] => found.is_empty(),
        [(status, Count::Times(n)), rest @ ..] => {
            found.len() >= *n
                && found[..*n].iter().all(|it| it == status)
                && fit(rest, &found[*n..])
        }
        [(status, Count::Any), rest @ ..] => {
            let most = found.iter().take_while(|it| *it == status).count();
            (0..=most).any(|n| fit(rest, &found[n..]))
        }
    }
}

/// The notation of the table in the documentation.
impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let alternatives: Vec<_> = self.0.iter().map(Alternative::to_string).collect();
        f.write_str(&alternatives.join(", or "))
    }
}

impl Display for Alternative {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let answers = self.answers.iter().map(|(status, count)| {
            let status = if *status == RAW { "bytes".to_owned() } else { status.to_string() };
            match count {
                Count::Times(1) => status,
                Count::Times(n) => format!("{n} times {status}"),
                Count::Any => format!("any number of {status}"),
            }
        });
        let answers: Vec<_> = answers.collect();
        let fate = match self.fate {
            Fate::Lives => "goes on",
            Fate::Ends => "closed",
            Fate::Open => "",
        };
        match (answers.is_empty(), fate) {
            (true, "") => f.write_str("no answer"),
            (true, fate) => f.write_str(fate),
            (false, "") => f.write_str(&answers.join(", ")),
            (false, fate) => write!(f, "{}; {fate}", answers.join(", ")),
        }
    }
}

#[test]
fn outcomes_are_told_apart() {
    let heard = |statuses: &[u16], has_ended| {
        let answer = |status: &u16| format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        Heard { bytes: statuses.iter().map(answer).collect::<String>().into_bytes(), has_ended }
    };
    for (text, statuses, has_ended, fits) in [
        ("nothing, ends", &[][..], true, Some(Fate::Ends)),
        ("nothing, ends", &[], false, None),
        ("nothing, ends", &[400], true, None),
        ("400, ends | 200, lives", &[200], false, Some(Fate::Lives)),
        ("400, ends | 200, lives", &[200], true, None),
        ("400", &[400], true, Some(Fate::Open)),
        ("400", &[400], false, Some(Fate::Open)),
        ("400", &[400, 200], false, None),
        ("100 201, lives", &[100, 201], false, Some(Fate::Lives)),
        ("200x2 400, ends", &[200, 200, 400], true, Some(Fate::Ends)),
        ("200x2 400, ends", &[200, 400], true, None),
        ("200* 400, ends", &[200, 200, 200, 400], true, Some(Fate::Ends)),
        ("200* 200, lives", &[200], false, Some(Fate::Lives)),
    ] {
        let outcome = Outcome::parse(text).unwrap();
        assert_eq!(outcome.fits(&heard(statuses, has_ended)), fits, "{text}: {statuses:?}");
    }
}
