//! The reference: the `OpenAPI` document, and a page that shows it and lets one try it out.
//!
//! The page is Swagger UI, out of the binary. Its files are kept compressed; who does not take
//! them so gets them decompressed, which is done once, by a worker.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use flate2::read::GzDecoder;
use utoipa_swagger_ui::{Config, SwaggerFile, serve};

use super::conditional::{checksum_tag, is_known};
use super::contract::{Answer, Field, Operation, Segment, Tag};
use super::{App, Failure, OpenCall, Outcome, Reply, Resume};
use crate::problem::{self, Problem};

/// The document as it is committed. `tests/docs` holds it to what [`super::openapi`] makes.
static DOCUMENT: &[u8] = include_bytes!("../../docs/openapi.json");

/// Everything comes from this server. Swagger UI sets styles in its markup, and has images in its
/// style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
/// Longest file of Swagger UI, decompressed, in bytes.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

pub(super) const OPENAPI: Operation = Operation {
    conditional: true,
    answers: &[
        Answer::file("The document", &["application/json"]).with(&[Field::ETag]),
        Answer::NOT_MODIFIED,
    ],
    ..Operation::new("openapi", Tag::Reference, "This document")
};

pub(super) const PAGE: Operation = Operation {
    conditional: true,
    answers: &[Answer::file("The page", &[HTML]).with(&[Field::ETag]), Answer::NOT_MODIFIED],
    ..Operation::new("reference", Tag::Reference, "The reference page, for a browser")
};

pub(super) const FILE: Operation = Operation {
    segment: Some(Segment::ReferenceFile),
    conditional: true,
    answers: &[
        Answer::file("The file", &["text/javascript", "text/css", "image/png"])
            .with(&[Field::ETag])
            .perhaps_with(&[Field::ContentEncoding]),
        Answer::NOT_MODIFIED,
    ],
    problems: &[problem::NOT_FOUND],
    ..Operation::new("referenceFile", Tag::Reference, "A file of the reference page")
};

/// A file of the reference page.
struct File {
    name: &'static str,
    content_type: &'static str,
    source: Source,
}

enum Source {
    /// Our own, as it is.
    Own(&'static [u8]),
    /// Swagger UI's, which has it compressed; here it is decompressed once somebody asked.
    Renderer(OnceLock<Vec<u8>>),
}

static INDEX: File = File {
    name: "",
    content_type: HTML,
    source: Source::Own(include_bytes!("reference/index.html")),
};

static FILES: [File; 4] = [
    File {
        name: "start.js",
        content_type: "text/javascript",
        source: Source::Own(include_bytes!("reference/start.js")),
    },
    File {
        name: "swagger-ui-bundle.js",
        content_type: "text/javascript",
        source: Source::Renderer(OnceLock::new()),
    },
    File {
        name: "swagger-ui.css",
        content_type: "text/css",
        source: Source::Renderer(OnceLock::new()),
    },
    File {
        name: "favicon-32x32.png",
        content_type: "image/png",
        source: Source::Renderer(OnceLock::new()),
    },
];

/// The names of the files.
pub(super) fn file_names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.name)
}

/// `GET /openapi.json`
#[expect(clippy::unnecessary_wraps, reason = "handlers are of one type")]
pub(super) fn openapi(_: &mut App, call: &OpenCall<'_>) -> Result<Outcome, Failure> {
    static TAG: OnceLock<String> = OnceLock::new();
    let tag = TAG.get_or_init(|| checksum_tag(DOCUMENT, "")).clone();
    let is_known = is_known(call.request.if_none_match, &tag);
    let document = || Reply::new(200, "application/json", DOCUMENT);
    let reply = if is_known { Reply::empty(304) } else { document() };
    Ok(Outcome::Reply(reply.revalidated_by(tag)))
}

/// `GET /docs`
pub(super) fn page(_: &mut App, call: &OpenCall<'_>) -> Result<Outcome, Failure> {
    INDEX.show(call)
}

/// `GET /docs/{file}`
pub(super) fn file(_: &mut App, call: &OpenCall<'_>) -> Result<Outcome, Failure> {
    let file = FILES.iter().find(|file| file.name == call.segment);
    let no_such_file = || Problem::not_found("the reference page has no such file");
    file.ok_or_else(no_such_file)?.show(call)
}

impl File {
    fn show(&'static self, call: &OpenCall<'_>) -> Result<Outcome, Failure> {
        let takes_gzip = call.request.accept_encoding.is_some_and(takes_gzip);
        let (content, tag) = match &self.source {
            Source::Own(content) => (Some(*content), checksum_tag(content, "")),
            Source::Renderer(_) if takes_gzip => {
                let compressed = self.compressed()?;
                (Some(compressed), checksum_tag(compressed, "-gzip"))
            }
            Source::Renderer(decompressed) => {
                (decompressed.get().map(Vec::as_slice), checksum_tag(self.compressed()?, ""))
            }
        };
        let is_known = is_known(call.request.if_none_match, &tag);
        let mut reply = match content {
            _ if is_known => Reply::empty(304),
            content => Reply::new(200, self.content_type, content.unwrap_or_default()),
        };
        reply = reply.revalidated_by(tag);
        if self.content_type == HTML {
            reply = reply.with("Content-Security-Policy", POLICY);
        }
        if let Source::Renderer(_) = self.source {
            reply = reply.with("Vary", "Accept-Encoding");
            if takes_gzip && !is_known {
                reply = reply.with("Content-Encoding", "gzip");
            }
        }
        if is_known || content.is_some() {
            return Ok(Outcome::Reply(reply));
        }
        let compressed = self.compressed()?;
        Ok(Outcome::Offload(Box::new(move || -> Resume {
            let decompressed = decompress(compressed);
            Box::new(move |_| self.show_decompressed(decompressed, reply))
        })))
    }

    /// Goes on with `reply` once there is something to put in it.
    fn show_decompressed(
        &'static self,
        decompressed: io::Result<Vec<u8>>,
        reply: Reply,
    ) -> Result<Reply, Failure> {
        match (decompressed, &self.source) {
            (Ok(decompressed), Source::Renderer(kept)) => {
                let content = kept.get_or_init(|| decompressed).as_slice();
                Ok(Reply { body: content.into(), ..reply })
            }
            (Ok(_), Source::Own(_)) => Ok(reply),
            (Err(error), _) => {
                log::error!("decompressing {} failed: {error}", self.name);
                Err(Problem::internal().into())
            }
        }
    }

    /// Its content as Swagger UI has it.
    fn compressed(&self) -> Result<&'static [u8], Failure> {
        let found = serve(self.name, Arc::new(Config::default()));
        if let Ok(Some(SwaggerFile { bytes: Cow::Borrowed(bytes), gzpipped: true, .. })) = found {
            return Ok(bytes);
        }
        log::error!("Swagger UI has no compressed file {}", self.name);
        Err(Problem::internal().into())
    }
}

fn decompress(compressed: &[u8]) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    GzDecoder::new(compressed).take(MAX_FILE_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

/// Whether an `Accept-Encoding` field takes gzip (RFC 9110, section 12.5.3).
fn takes_gzip(field: &str) -> bool {
    let weight_of = |wanted: &str| {
        field.split(',').find_map(|coding| {
            let (name, parameter) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = parameter.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
            name.trim().eq_ignore_ascii_case(wanted).then_some(weight.unwrap_or(0.0))
        })
    };
    weight_of("gzip").or_else(|| weight_of("*")).is_some_and(|weight| weight > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        for field in ["gzip", "GZIP", "deflate, gzip;q=1.0, *;q=0.5", "*", "gzip; q=0.001"] {
            assert!(takes_gzip(field), "{field}");
        }
        for field in ["", "identity", "br", "gzip;q=0", "gzip;q=0.0, *", "*;q=0", "gzip;q=x"] {
            assert!(!takes_gzip(field), "{field}");
        }
    }

    #[test]
    fn the_renderer_has_what_is_asked_of_it() {
        for file in FILES.iter().filter(|file| matches!(file.source, Source::Renderer(_))) {
            let compressed = file.compressed().unwrap();
            let content = decompress(compressed).unwrap();
            assert!(
                content.len() > 100 && (content.len() as u64) < MAX_FILE_BYTES,
                "{}",
                file.name
            );
        }
    }
}
