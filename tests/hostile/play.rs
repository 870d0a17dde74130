//! Plays a case, and reports differences from its permitted outcomes.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::case::{Case, Step, Words};
use crate::client::Answer;
use crate::contract;
use crate::outcome::{Fate, Outcome};
use crate::stage::Way;
use crate::talk::{Heard, Talk};

/// Longer than any time-out that a case waits for, on a busy machine: the longest is 30 s.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
/// The time for which an outcome that promises nothing of the connection must not change.
const SETTLING: Duration = Duration::from_millis(200);
/// The longest wait for an ordinary request.
const PROMPT: Duration = Duration::from_secs(20);

/// The result of a case.
#[derive(Debug, Default)]
pub(crate) struct Played {
    /// Messages that were acknowledged.
    pub(crate) acknowledged: usize,
    pub(crate) complaints: Vec<String>,
}

/// The server and the way on which cases are played.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) way: Way,
    pub(crate) addr: SocketAddr,
    pub(crate) token: &'a str,
}

impl Scene<'_> {
    pub(crate) fn play(self, case: &Case) -> Played {
        let words = Words { token: self.token, number: case.number };
        let mut played = Played::default();
        let mut heard = Vec::new();
        match self.run(case, &words, &mut heard) {
            Ok(talks) => {
                let outcome = self.way.outcome(case);
                for talk in talks {
                    match conclude(outcome, talk, &words, case.is_deaf) {
                        Ok(found) => heard.push(found),
                        Err(why) => played.complaints.push(why),
                    }
                }
            }
            Err(error) => played.complaints.push(format!("it ends early: {error}")),
        }
        for answer in heard.iter().flat_map(Heard::answers) {
            played.acknowledged += usize::from(answer.status == 201);
            played.complaints.extend(self.way.check(&answer).err());
        }
        played.complaints.extend(self.is_served(&words).err());
        played
    }

    /// Carries out the steps of the case.
    fn run(self, case: &Case, words: &Words<'_>, heard: &mut Vec<Heard>) -> io::Result<Vec<Talk>> {
        let connect = |_| Talk::connect(self.addr, case.is_deaf);
        let mut talks: Vec<Talk> = (0..case.connections).map(connect).collect::<Result<_, _>>()?;
        let mut answers = 0;
        for step in &case.steps {
            match step {
                Step::Send(text, count) => {
                    let bytes = words.bytes(text);
                    for talk in &mut talks {
                        send(talk, &bytes, *count);
                    }
                }
                Step::Drip(interval, text) => {
                    for byte in words.bytes(text) {
                        thread::sleep(*interval);
                        for talk in &mut talks {
                            send(talk, &[byte], 1);
                        }
                    }
                }
                Step::Pause(time) => thread::sleep(*time),
                Step::Answer => {
                    answers += 1;
                    for talk in &talks {
                        let waited = talk.wait(PATIENCE, |heard| {
                            let found = heard.statuses().into_iter().filter(|it| *it >= 200);
                            (found.count() >= answers).then_some(())
                        });
                        waited.map_err(|heard| io::Error::other(told(&heard)))?;
                    }
                }
                Step::HalfClose => talks.iter().for_each(Talk::finish),
                Step::Reset => {
                    // No client may leave before the server has looked at its connection.
                    talks.iter().for_each(Talk::wait_until_begun);
                    heard.extend(talks.drain(..).map(Talk::reset));
                }
            }
        }
        Ok(talks)
    }

    /// Checks that another client is served.
    fn is_served(self, words: &Words<'_>) -> Result<(), String> {
        let failed = |why: String| format!("nobody is served behind it: {why}");
        let mut talk = Talk::connect(self.addr, false).map_err(|e| failed(e.to_string()))?;
        ask(&mut talk, words).map_err(failed)
    }
}

/// Sends pieces of a good size, until the server has closed the connection.
fn send(talk: &mut Talk, bytes: &[u8], count: usize) {
    const PIECE: usize = 64 * 1024;
    let at_once = (PIECE / bytes.len().max(1)).clamp(1, count.max(1));
    let piece = bytes.repeat(at_once);
    for _ in 0..count / at_once {
        if talk.send(&piece).is_err() {
            return;
        }
    }
    let _ = talk.send(&bytes.repeat(count % at_once));
}

/// Waits for one of the permitted outcomes.
fn conclude(
    outcome: &Outcome,
    mut talk: Talk,
    words: &Words<'_>,
    is_deaf: bool,
) -> Result<Heard, String> {
    if is_deaf {
        return Ok(Heard::default());
    }
    let fits = |heard: &Heard| Some((outcome.fits(heard)?, heard.clone()));
    let unfit = |heard: Heard| format!("it should be: {outcome}; it is: {}", told(&heard));
    let (fate, heard) = talk.wait(PATIENCE, fits).map_err(unfit)?;
    match fate {
        Fate::Ends => Ok(heard),
        Fate::Open => {
            thread::sleep(SETTLING);
            talk.wait(Duration::ZERO, fits).map(|(_, heard)| heard).map_err(unfit)
        }
        Fate::Lives => {
            let asked = ask(&mut talk, words);
            asked.map_err(|why| format!("the connection does not go on: {why}"))?;
            Ok(heard)
        }
    }
}

fn ask(talk: &mut Talk, words: &Words<'_>) -> Result<(), String> {
    let before = talk.wait(Duration::ZERO, |heard| Some(heard.statuses().len()));
    let before = before.map_err(|heard| told(&heard))?;
    talk.send(&words.bytes("{me}\\r\\n\\r\\n")).map_err(|e| e.to_string())?;
    let answered = |heard: &Heard| heard.answers().into_iter().nth(before);
    let answer = talk.wait(PROMPT, answered).map_err(|heard| told(&heard))?;
    if answer.status == 200 && answer.json()["username"] == "ann" {
        return Ok(());
    }
    Err(format!("{answer:?}"))
}

/// A short description.
fn told(heard: &Heard) -> String {
    let text = String::from_utf8_lossy(&heard.bytes[..heard.bytes.len().min(2000)]).into_owned();
    let goes_on = if heard.has_ended { "closed" } else { "open" };
    format!("{:?}, {goes_on}: {text:?}", heard.statuses())
}

impl Way {
    pub(crate) fn outcome(self, case: &Case) -> &Outcome {
        match self {
            Way::Direct => &case.direct,
            Way::Nginx => &case.nginx,
        }
    }

    /// Checks an answer against the contract, where one is promised.
    fn check(self, answer: &Answer) -> Result<(), String> {
        /// tiny_http's own answers to bytes that are no request.
        const BARE: [u16; 4] = [400, 408, 417, 505];
        if answer.status < 200 {
            return Ok(());
        }
        match self {
            Way::Direct if BARE.contains(&answer.status) && !is_problem(answer) => Ok(()),
            Way::Direct => contract::check(None, &answer.answered()),
            Way::Nginx if answer.status < 400 || is_problem(answer) => Ok(()),
            Way::Nginx => Err(format!("no problem: {answer:?}")),
        }
    }
}

fn is_problem(answer: &Answer) -> bool {
    answer.header("Content-Type") == Some("application/problem+json")
        && answer.json()["status"] == answer.status
}
