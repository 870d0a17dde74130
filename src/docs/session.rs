//! One run of a page, step by step.

use super::page::DocStep;
use super::shell::{CurlRequest, Run, ServerAddress, Shell, ShellFailure};
use super::{address, translate};

/// A shell in which the steps of a page run.
#[derive(Debug)]
pub struct DocSession {
    shell: Shell,
}

/// The result of a step.
#[derive(Debug)]
pub struct Done {
    /// The requests that curl sent, in order.
    pub requests: Vec<CurlRequest>,
    /// The exchange; `None` for commands that only prepare the shell.
    pub exchange: Option<RecordedExchange>,
}

/// A request and its response.
#[derive(Debug, PartialEq, Eq)]
pub struct RecordedExchange {
    /// The name of its snapshot.
    pub name: String,
    /// The heading, as in the page.
    pub title: String,
    /// The command.
    pub command: String,
    /// The method that curl sent.
    pub method: String,
    /// The path that curl sent, without the query.
    pub path: String,
    /// Status line, fields, an empty line and the body, if there is one.
    pub response: String,
}

impl RecordedExchange {
    /// The status code of the status line; 0 if there is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }
}

impl DocSession {
    /// A session with the server at this port of 127.0.0.1, which the commands call
    /// `localhost:5000`.
    pub fn local(port: u16) -> Result<DocSession, ShellFailure> {
        Shell::start(ServerAddress::Local(port)).map(|shell| DocSession { shell })
    }

    /// A session with the server that the commands name.
    pub fn direct() -> Result<DocSession, ShellFailure> {
        Shell::start(ServerAddress::Direct).map(|shell| DocSession { shell })
    }

    /// Checks the links that the script of `step` follows: a server may send others than the page
    /// shows, and none may lead elsewhere. To be called before the script runs.
    pub fn check_links(&mut self, step: &DocStep) -> Result<(), ShellFailure> {
        for name in translate::followed(&step.script) {
            let link = self.shell.run(&format!("printf %s \"${name}\""))?.output;
            if !address::leads_on(&link) {
                return Err(ShellFailure::Unfit(format!("the link leads elsewhere: {link}")));
            }
        }
        Ok(())
    }

    /// `true` if a request of the last script was answered, even if the script failed.
    #[must_use]
    pub fn was_answered(&self) -> bool {
        self.shell.was_answered()
    }

    /// Runs `script`, which is that of `step` or what became of it.
    pub fn run(&mut self, step: &DocStep, script: &str) -> Result<Done, ShellFailure> {
        let Run { output, requests } = self.shell.run(script)?;
        let Some(response) = &step.response else {
            let refused = requests.iter().find(|request| request.status.is_none_or(|it| it >= 400));
            return match refused {
                Some(CurlRequest { method, target, status, .. }) => {
                    let status = status.map_or("nothing".to_owned(), |it| it.to_string());
                    Err(ShellFailure::Unfit(format!("{method} {target} was answered {status}")))
                }
                None => Ok(Done { requests, exchange: None }),
            };
        };
        let [CurlRequest { method, target, .. }] = requests.as_slice() else {
            let count = requests.len();
            return Err(ShellFailure::Unfit(format!("an example is one request, and not {count}")));
        };
        let exchange = RecordedExchange {
            name: response.name.clone(),
            title: step.title.clone(),
            command: script.trim_end().to_owned(),
            method: method.clone(),
            path: target.split('?').next().unwrap_or_default().to_owned(),
            response: as_text(&output)?,
        };
        Ok(Done { requests, exchange: Some(exchange) })
    }
}

/// A response as a page shows it: the lines of its head end in LF only, and if it has no content,
/// neither does the page have an empty line. Interim responses before it do not count.
fn as_text(output: &str) -> Result<String, ShellFailure> {
    let mut rest = output;
    loop {
        let Some((head, body)) = rest.split_once("\r\n\r\n") else {
            return Err(ShellFailure::Unfit("the head of the response does not end".to_owned()));
        };
        if head.starts_with("HTTP/1.1 1") {
            rest = body;
            continue;
        }
        let head = head.replace("\r\n", "\n");
        return Ok(if body.is_empty() { head } else { format!("{head}\n\n{body}") });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_shown_as_in_a_page() {
        let shown = |output| as_text(output).unwrap();
        assert_eq!(shown("HTTP/1.1 200 OK\r\nA: b\r\n\r\n"), "HTTP/1.1 200 OK\nA: b");
        assert_eq!(
            shown("HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 201 X\r\n\r\n{}"),
            "HTTP/1.1 201 X\n\n{}"
        );
        assert!(as_text("{}").is_err());
    }
}
