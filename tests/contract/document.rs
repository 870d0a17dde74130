//! The committed `OpenAPI` document, prepared for checking answers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path as File;
use std::sync::LazyLock;

use jsonschema::{Draft, Registry, RegistryBuilder};
use serde_json::Value;

use super::response::Response;

/// Its path in the repository.
pub(super) const PATH: &str = "docs/openapi.json";
/// The base of references within it.
pub(super) const URI: &str = "veche:/openapi.json";

static JSON: LazyLock<Value> = LazyLock::new(|| {
    let text = fs::read(File::new(env!("CARGO_MANIFEST_DIR")).join(PATH));
    serde_json::from_slice(&text.expect(PATH)).expect(PATH)
});

static REGISTRY: LazyLock<Registry<'static>> = LazyLock::new(|| {
    let registry = Registry::new().draft(Draft::Draft202012).add(URI, &*JSON);
    registry.and_then(RegistryBuilder::prepare).expect("every reference is to something")
});

static DOCUMENT: LazyLock<Document> = LazyLock::new(Document::read);

/// The parsed document.
pub(crate) struct Document {
    paths: Vec<Path>,
    /// The answer for a path that no template fits.
    pub(super) no_such_path: Response,
    /// The answer for a method that a path does not support.
    pub(super) method_not_allowed: Response,
}

/// A path template, and the operations of a path that fits it.
pub(super) struct Path {
    pub(super) template: &'static str,
    /// By method.
    operations: BTreeMap<String, Operation>,
}

/// All answers of an operation, by status.
pub(super) struct Operation(BTreeMap<u16, Response>);

impl Document {
    /// The document, read at the first use.
    pub(super) fn committed() -> &'static Document {
        &DOCUMENT
    }

    /// The same as JSON.
    pub(crate) fn json() -> &'static Value {
        &JSON
    }

    /// A registry that resolves [`URI`].
    pub(super) fn registry() -> &'static Registry<'static> {
        &REGISTRY
    }

    fn read() -> Document {
        let component = |name: &str| Response::at(&format!("/components/responses/{name}"));
        let paths = members("/paths").map(|(template, operations)| {
            let operations = operations.as_object().expect("a path's operations");
            let operations = operations.keys().map(|method| {
                let at = format!("/paths/{}/{method}/responses", escaped(template));
                let responses = members(&at).map(|(status, _)| {
                    (status.parse().expect("a status"), Response::at(&format!("{at}/{status}")))
                });
                (method.to_ascii_uppercase(), Operation(responses.collect()))
            });
            Path { template, operations: operations.collect() }
        });
        Document {
            paths: paths.collect(),
            no_such_path: component("NoSuchPath"),
            method_not_allowed: component("MethodNotAllowed"),
        }
    }

    /// The path whose template fits. A template without a variable takes precedence.
    pub(super) fn path(&self, path: &str) -> Option<&Path> {
        let exact = self.paths.iter().find(|known| known.template == path);
        exact.or_else(|| self.paths.iter().find(|known| known.fits(path)))
    }

    /// All answers with this status, of any operation.
    pub(super) fn responses(&self, status: u16) -> impl Iterator<Item = &Response> {
        let operations = self.paths.iter().flat_map(|path| path.operations.values());
        let components = [(404, &self.no_such_path), (405, &self.method_not_allowed)];
        let components = components.into_iter().filter(move |(its, _)| *its == status);
        let responses = operations.filter_map(move |operation| operation.response(status));
        responses.chain(components.map(|(_, response)| response))
    }
}

impl Path {
    fn fits(&self, path: &str) -> bool {
        let (mut wanted, mut found) = (self.template.split('/'), path.split('/'));
        loop {
            match (wanted.next(), found.next()) {
                (None, None) => return true,
                (Some(variable), Some(segment)) if variable.starts_with('{') => {
                    if segment.is_empty() {
                        return false;
                    }
                }
                (wanted, found) if wanted == found => {}
                _ => return false,
            }
        }
    }

    pub(super) fn operation(&self, method: &str) -> Option<&Operation> {
        self.operations.get(method)
    }

    /// In any order, as in `Allow`.
    pub(super) fn methods(&self) -> Vec<&str> {
        let mut methods: Vec<&str> = self.operations.keys().map(String::as_str).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods
    }
}

impl Operation {
    pub(super) fn response(&self, status: u16) -> Option<&Response> {
        self.0.get(&status)
    }
}

/// The members of the object there, if there is one.
pub(crate) fn members(
    pointer: &str,
) -> impl Iterator<Item = (&'static String, &'static Value)> + use<> {
    JSON.pointer(pointer).and_then(Value::as_object).into_iter().flatten()
}

/// A part of a JSON pointer (RFC 6901).
pub(crate) fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}
