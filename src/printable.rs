//! Text on its way to a terminal or a log: the one place where it is escaped, and the only one that
//! writes to the standard streams.
//!
//! A file, a client, another server, the environment: what any of them says may end up in an error
//! or a log line, and a terminal obeys what it is sent (ECMA-48). So what is printed is made
//! printable here, at the last moment, whoever has put it together: what moves the cursor, begins a
//! line, turns the direction of writing or is invisible is shown as `\u{…}`.

use std::fmt::{self, Display, Write as _};
use std::io::{self, IsTerminal as _, StdoutLock, Write as _};

/// Displays something in one line, and nothing in it but what can be seen.
#[derive(Debug, Clone, Copy)]
pub struct Printable<T>(pub T);

impl<T: Display> Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escape(f), "{}", self.0)
    }
}

/// Displays something in the lines that it has, each of them printable.
#[derive(Debug, Clone, Copy)]
pub struct PrintableLines<T>(pub T);

impl<T: Display> Display for PrintableLines<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(EscapeLines(f), "{}", self.0)
    }
}

struct Escape<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| escape(c, self.0))
    }
}

struct EscapeLines<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for EscapeLines<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            '\n' => self.0.write_char('\n'),
            _ => escape(c, self.0),
        })
    }
}

/// Quotes and backslashes are as harmless as letters. A mark that is laid over the letter before it
/// is not: that need not be one of the same text.
fn escape(c: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match c {
        '"' | '\'' | '\\' => f.write_char(c),
        _ => c.escape_debug().try_for_each(|c| f.write_char(c)),
    }
}

/// Says something to the operator in one line on standard error. Nobody may be there any more to read
/// it, which is no reason to fail.
pub fn say(what: impl Display) {
    let _ = writeln!(io::stderr(), "{}", Printable(what));
}

/// The same in several lines.
pub fn say_lines(what: impl Display) {
    let _ = writeln!(io::stderr(), "{}", PrintableLines(what));
}

/// Writes a result to standard output, in the lines that it has.
pub fn print(what: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{}", PrintableLines(what))
}

/// Standard output for bytes that are no text for a reader. A terminal is refused.
pub fn raw_output() -> io::Result<StdoutLock<'static>> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        let why = "standard output is a terminal: name a file, or send it elsewhere";
        return Err(io::Error::other(why));
    }
    Ok(stdout.lock())
}

/// Whether an operator watches standard error.
#[must_use]
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown() {
        for (text, shown) in [
            ("plain 'text' \"quoted\" C:\\ Größe привет 日本 🦀", None),
            ("\u{1b}[2J", Some("\\u{1b}[2J")),
            ("a\r\nb\tc\u{7}\0", Some("a\\r\\nb\\tc\\u{7}\\0")),
            ("\u{7f}\u{9b}2J\u{85}", Some("\\u{7f}\\u{9b}2J\\u{85}")),
            ("\u{202e}txt\u{2066}\u{200f}", Some("\\u{202e}txt\\u{2066}\\u{200f}")),
            ("\u{2028}\u{feff}\u{200b}\u{ad}", Some("\\u{2028}\\u{feff}\\u{200b}\\u{ad}")),
            ("\u{301}\u{e0041}\u{e000}", Some("\\u{301}\\u{e0041}\\u{e000}")),
        ] {
            let expected = shown.unwrap_or(text);
            assert_eq!(Printable(text).to_string(), expected);
            assert_eq!(Printable(expected).to_string(), expected, "nothing is left to escape");
        }
    }

    #[test]
    fn lines_stay_lines_where_they_are_meant() {
        assert_eq!(PrintableLines("a\nb\u{1b}\r\n").to_string(), "a\nb\\u{1b}\\r\n");
        assert_eq!(Printable("a\nb").to_string(), "a\\nb");
    }
}
