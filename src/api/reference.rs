//! The reference: the `OpenAPI` document, and a page that shows it and can send requests.
//!
//! The page is Swagger UI, whose files are part of the program. They are kept compressed, and are
//! decompressed once for clients that do not accept gzip.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use flate2::read::GzDecoder;
use utoipa_swagger_ui::{Config, SwaggerFile, serve};

use super::app::App;
use super::conditional::{is_known, tag_of};
use super::contract::{Field, Operation, PathSegment, ResponseSpec, Tag};
use super::failure::Failure;
use super::negotiation::accepts_gzip;
use super::outcome::Outcome;
use super::reply::Reply;
use super::request::OpenCall;
use crate::problem::{self, Problem};

/// The policy allows this server only. Swagger UI sets styles in its markup, and has images in its
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
        ResponseSpec::file("The document", &["application/json"]).with(&[Field::ETag]),
        ResponseSpec::NOT_MODIFIED,
    ],
    ..Operation::new("openapi", Tag::Reference, "Get this document")
};

pub(super) const PAGE: Operation = Operation {
    conditional: true,
    answers: &[
        ResponseSpec::file("The page", &[HTML]).with(&[Field::ETag]),
        ResponseSpec::NOT_MODIFIED,
    ],
    ..Operation::new("reference", Tag::Reference, "Show the reference page in a browser")
};

pub(super) const FILE: Operation = Operation {
    segment: Some(PathSegment::ReferenceFile),
    conditional: true,
    answers: &[
        ResponseSpec::file("The file", &["text/javascript", "text/css", "image/png"])
            .with(&[Field::ETag])
            .perhaps_with(&[Field::ContentEncoding]),
        ResponseSpec::NOT_MODIFIED,
    ],
    problems: &[problem::NOT_FOUND],
    ..Operation::new("referenceFile", Tag::Reference, "Get a file of the reference page")
};

/// A file that is part of the program.
struct File {
    name: &'static str,
    content_type: &'static str,
    /// `None` for a file of Swagger UI.
    own: Option<&'static [u8]>,
    plain: OnceLock<Option<Representation>>,
    gzip: OnceLock<Option<Representation>>,
}

/// A file as it is sent.
struct Representation {
    content: Cow<'static, [u8]>,
    tag: String,
}

static DOCUMENT: File =
    File::own("openapi.json", "application/json", include_bytes!("../../docs/openapi.json"));

static INDEX: File = File::own("index.html", HTML, include_bytes!("reference/index.html"));

static FILES: [File; 4] = [
    File::own("start.js", "text/javascript", include_bytes!("reference/start.js")),
    File::renderers("swagger-ui-bundle.js", "text/javascript"),
    File::renderers("swagger-ui.css", "text/css"),
    File::renderers("favicon-32x32.png", "image/png"),
];

/// The names of the files.
pub(super) fn file_names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.name)
}

/// `GET /openapi.json`
///
/// The committed document. `tests/docs` compares it with what [`super::openapi`] makes.
pub(super) fn openapi(_: &mut App, call: &OpenCall<'_>) -> Result<Outcome, Failure> {
    DOCUMENT.show(call)
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
    const fn own(name: &'static str, content_type: &'static str, content: &'static [u8]) -> File {
        File::new(name, content_type, Some(content))
    }

    const fn renderers(name: &'static str, content_type: &'static str) -> File {
        File::new(name, content_type, None)
    }

    const fn new(
        name: &'static str,
        content_type: &'static str,
        own: Option<&'static [u8]>,
    ) -> File {
        File { name, content_type, own, plain: OnceLock::new(), gzip: OnceLock::new() }
    }

    fn show(&'static self, call: &OpenCall<'_>) -> Result<Outcome, Failure> {
        let varies = self.own.is_none();
        let gzip = varies && call.request.accept_encoding.as_deref().is_some_and(accepts_gzip);
        let representation = if gzip { self.gzip() } else { self.plain() };
        let Some(Representation { content, tag }) = representation else {
            log::error!("Swagger UI has no compressed file {}", self.name);
            return Err(Problem::internal().into());
        };
        let is_known = is_known(call.request, tag);
        let content = || Reply::new(200, self.content_type, &**content);
        let mut reply = if is_known { Reply::empty(304) } else { content() };
        reply = reply.revalidated_by(tag.clone());
        if self.content_type == HTML {
            reply = reply.with("Content-Security-Policy", POLICY);
        }
        if varies {
            reply = reply.with("Vary", "Accept-Encoding");
        }
        if gzip && !is_known {
            reply = reply.with("Content-Encoding", "gzip");
        }
        Ok(Outcome::Reply(reply))
    }

    fn gzip(&self) -> Option<&Representation> {
        let make = || Some(Representation::new(self.compressed()?.into(), "-gzip"));
        self.gzip.get_or_init(make).as_ref()
    }

    /// Decompresses a file of the renderer once, on the loop: the largest takes 7 ms.
    fn plain(&self) -> Option<&Representation> {
        let make = || {
            let content = match self.own {
                Some(own) => own.into(),
                None => decompress(self.compressed()?).ok()?.into(),
            };
            Some(Representation::new(content, ""))
        };
        self.plain.get_or_init(make).as_ref()
    }

    /// The compressed content, from Swagger UI.
    fn compressed(&self) -> Option<&'static [u8]> {
        let found = serve(self.name, Arc::new(Config::default()));
        let Ok(Some(SwaggerFile { bytes: Cow::Borrowed(bytes), gzpipped: true, .. })) = found
        else {
            return None;
        };
        Some(bytes)
    }
}

impl Representation {
    fn new(content: Cow<'static, [u8]>, variant: &str) -> Representation {
        let tag = tag_of(&content, variant);
        Representation { content, tag }
    }
}

fn decompress(compressed: &[u8]) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    GzDecoder::new(compressed).take(MAX_FILE_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_renderer_has_what_is_asked_of_it() {
        for file in FILES.iter().filter(|file| file.own.is_none()) {
            let plain = file.plain().unwrap().content.len() as u64;
            assert!((100..MAX_FILE_BYTES).contains(&plain), "{}", file.name);
            assert!(file.gzip().is_some(), "{}", file.name);
        }
    }
}
