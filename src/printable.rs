//! Escapes text for a terminal or the log. This is the only module that writes to the standard
//! streams.
//!
//! Text from a file, a client, another server or the environment may be part of an error or of a
//! log line, and a terminal obeys control characters (ECMA-48). So all text is made printable here,
//! at the last moment: characters that move the cursor, begin a line, turn the direction of writing
//! or are invisible are shown as `\u{…}`.

use std::fmt::{self, Display, Write as _};
use std::io::{self, IsTerminal as _, StdoutLock, Write as _};

/// Displays a value in one line, with all invisible characters escaped.
#[derive(Debug, Clone, Copy)]
pub struct Printable<T>(pub T);

impl<T: Display> Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escape(f), "{}", self.0)
    }
}

/// Displays a value in its lines, each of them escaped.
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

/// Escapes a character. Quotes and backslashes are not escaped: they are harmless. A combining mark
/// is, because the letter before it need not be of the same text.
fn escape(c: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match c {
        '"' | '\'' | '\\' => f.write_char(c),
        _ => c.escape_debug().try_for_each(|c| f.write_char(c)),
    }
}

/// Prints a line for the operator on standard error. A failure is ignored: nobody may be reading.
pub fn say(what: impl Display) {
    let _ = writeln!(io::stderr(), "{}", Printable(what));
}

/// Prints several lines for the operator on standard error.
pub fn say_lines(what: impl Display) {
    let _ = writeln!(io::stderr(), "{}", PrintableLines(what));
}

/// Prints a result, of one line or several, on standard output.
pub fn print(what: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{}", PrintableLines(what))
}

/// Standard output for binary data. A terminal is refused.
pub fn raw_output() -> io::Result<StdoutLock<'static>> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        let why = "standard output is a terminal: name a file, or send it elsewhere";
        return Err(io::Error::other(why));
    }
    Ok(stdout.lock())
}

/// `true` if standard error is a terminal.
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
