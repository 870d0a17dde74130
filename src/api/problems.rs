//! The pages that explain problem types, made from the table of problems.

use super::app::App;
use super::contract::{Operation, PathSegment, ResponseSpec, Tag};
use super::failure::Failure;
use super::outcome::Outcome;
use super::reply::Reply;
use super::request::OpenCall;
use crate::problem::{self, KINDS, Problem, ProblemType};

/// The pages hold only text and its style.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";

pub(super) const LIST: Operation = Operation {
    answers: &[ResponseSpec::file("A page that lists all problem types", &[HTML])],
    ..Operation::new("listProblems", Tag::Reference, "List all problem types")
};

pub(super) const SHOW: Operation = Operation {
    segment: Some(PathSegment::ProblemKind),
    answers: &[ResponseSpec::file("A page about the problem type", &[HTML])],
    problems: &[problem::NOT_FOUND],
    ..Operation::new("showProblem", Tag::Reference, "Explain a problem type")
};

/// `GET /problems`
#[expect(clippy::unnecessary_wraps, reason = "handlers are of one type")]
pub(super) fn list(_: &mut App, _: &OpenCall<'_>) -> Result<Outcome, Failure> {
    let row = |kind: &&ProblemType| {
        let ProblemType { slug, status, title, .. } = kind;
        format!("<li>{status} <a href=\"problems/{slug}\">{}</a></li>\n", html(title))
    };
    let rows: String = KINDS.iter().map(row).collect();
    Ok(page("Problems", &format!("<ul>\n{rows}</ul>\n")))
}

/// `GET /problems/{kind}`
pub(super) fn show(_: &mut App, call: &OpenCall<'_>) -> Result<Outcome, Failure> {
    let kind = KINDS.iter().find(|kind| kind.slug == call.segment);
    let kind = kind.ok_or_else(|| Problem::not_found("there is no such problem type"))?;
    let ProblemType { slug, status, title, meaning, advice } = kind;
    let content = format!(
        "<p>Status {status}, type <code>/problems/{slug}</code></p>\n\
         <h2>What it means</h2>\n<p>{}</p>\n<h2>What to do</h2>\n<p>{}</p>\n\
         <p><a href=\"../problems\">All problems</a></p>\n",
        html(meaning),
        html(advice)
    );
    Ok(page(title, &content))
}

fn page(title: &str, content: &str) -> Outcome {
    let title = html(title);
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title} · veche</title>\n\
         <style>body {{ font: 1rem/1.5 sans-serif; max-width: 40rem; margin: 2rem auto; \
         padding: 0 1rem; color-scheme: light dark }}</style>\n\
         </head>\n<body>\n<h1>{title}</h1>\n{content}</body>\n</html>\n"
    );
    let reply = Reply::new(200, HTML, page.into_bytes());
    Outcome::Reply(reply.with("Content-Security-Policy", POLICY))
}

/// Converts text to HTML, with the parts between backticks as code.
fn html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let pieces = escaped.split('`').enumerate();
    pieces
        .map(
            |(n, piece)| {
                if n % 2 == 1 { format!("<code>{piece}</code>") } else { piece.to_owned() }
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_html() {
        assert_eq!(html("a < b & `c>` d"), "a &lt; b &amp; <code>c&gt;</code> d");
    }
}
