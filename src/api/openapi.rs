//! The `OpenAPI` document, made from [`ROUTES`], so that both list the same endpoints.
//!
//! The server sends the committed `docs/openapi.json`. `tests/docs` makes the document anew, with
//! the pinned responses as examples, and compares.

mod schemas;
mod terms;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::schemas::Schemas;
use self::terms::{described, problem_fields};
use super::contract::{Field, Operation, ResponseContent, ResponseSpec, SchemaRef, Tag};
use super::routes::{self, Match, ROUTES, Route};
use super::stream;
use crate::problem::{self, ANYWHERE, ProblemBody, ProblemType};

/// Names of the responses that no operation has: to an unknown path or method.
const NO_SUCH_PATH: &str = "NoSuchPath";
const METHOD_NOT_ALLOWED: &str = "MethodNotAllowed";

const ABOUT: &str = "\
A chat server with accounts, a general chat that all users read and write, and private messages \
that only their two parties can read.

* Every `GET` answers `HEAD` too. A path that is not listed is a 404, a method that is not listed \
for its path a 405 with `Allow`.
* Ids ascend and are never assigned twice. Times are RFC 3339 in UTC.
* Errors are problem details (RFC 9457). Programs decide by `type`, which links to an explanation.
* New fields and parameters may be added. Clients ignore unknown fields, and the server ignores \
unknown parameters and fields.
* Any request can also get a 400 for its framing, a 500 or a 503.
* Every response has an `X-Request-Id`: that of the request, or a new one.
* Responses are not for caches, unless they have an `ETag`.";

/// A response to be shown as an example.
pub struct Example<'a> {
    /// Unique.
    pub name: &'a str,
    /// A title.
    pub title: &'a str,
    /// The method of the request.
    pub method: &'a str,
    /// The path of the request, without the query.
    pub path: &'a str,
    /// The status code.
    pub status: u16,
    /// The content; if it is JSON, as such.
    pub content: Value,
}

/// The whole document.
#[must_use]
pub fn document(examples: &[Example<'_>]) -> Value {
    let mut writer = DocumentWriter { examples, schemas: Schemas::default() };
    let mut paths = Map::new();
    for route in ROUTES {
        let methods = paths.entry(route.path).or_insert_with(|| json!({}));
        methods[route.method.to_ascii_lowercase()] = writer.operation(route);
    }
    let no_such_path =
        writer.problem(&[problem::NOT_FOUND], |found| matches!(found, Match::Nothing));
    let method_not_allowed = writer
        .problem(&[problem::METHOD_NOT_ALLOWED], |found| matches!(found, Match::OtherMethods(_)));
    let tags = Tag::ALL.map(|tag| json!({ "name": tag.name(), "description": tag.about() }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "veche",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0" },
        },
        // Relative to the document, so that a prefix before all paths is kept.
        "servers": [{ "url": ".", "description": "The server of this document" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": writer.schemas.into_map(),
            "responses": {
                NO_SUCH_PATH: no_such_path,
                METHOD_NOT_ALLOWED: method_not_allowed,
            },
            "securitySchemes": { "token": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "The token from `POST /login`",
            } },
        },
    })
}

/// Writes operations, and collects the schemas that they refer to.
struct DocumentWriter<'a> {
    examples: &'a [Example<'a>],
    schemas: Schemas,
}

impl DocumentWriter<'_> {
    fn operation(&mut self, route: &'static Route) -> Value {
        let Operation { id, tag, summary, segment, query, body, .. } = *route.operation;
        let mut parameters = Vec::new();
        parameters.extend(segment.map(|segment| terms::segment(segment, &mut self.schemas)));
        parameters.extend(
            query
                .iter()
                .map(|parameter| terms::parameter(*parameter, route.operation, &mut self.schemas)),
        );
        parameters.extend(route.operation.heeds().map(terms::request_field));
        let security = if route.needs_token() { json!([{ "token": [] }]) } else { json!([]) };
        let mut operation = json!({
            "operationId": id,
            "tags": [tag.name()],
            "summary": summary,
            "parameters": parameters,
            "security": security,
            "responses": self.responses(route),
        });
        if let Some(shape) = body {
            operation["requestBody"] = json!({
                "required": true,
                "content": { "application/json": { "schema": self.schemas.reference(shape) } },
            });
        }
        operation
    }

    fn responses(&mut self, route: &'static Route) -> Value {
        let mut responses = Map::new();
        for answer in route.operation.answers {
            responses.insert(answer.status.to_string(), self.answer(route, answer));
        }
        let mut kinds: BTreeMap<u16, Vec<&ProblemType>> = BTreeMap::new();
        for kind in ANYWHERE.iter().chain(route.operation.problems) {
            kinds.entry(kind.status).or_default().push(kind);
        }
        for (status, kinds) in kinds {
            let response = self.problem(&kinds, |found| is(found, route));
            responses.insert(status.to_string(), response);
        }
        responses.into()
    }

    fn answer(&mut self, route: &Route, answer: &ResponseSpec) -> Value {
        let ResponseSpec { status, about, content, fields, optional_fields } = *answer;
        let headers = headers(fields, optional_fields);
        let types: &[&str] = match content {
            ResponseContent::None => &[],
            ResponseContent::Json(_) | ResponseContent::List(_) | ResponseContent::Stream(_) => {
                &["application/json"]
            }
            ResponseContent::File(types) => types,
        };
        let schema = match content {
            ResponseContent::Json(shape) => self.schemas.reference(shape),
            ResponseContent::List(shape) | ResponseContent::Stream(shape) => {
                let items = self.schemas.reference(shape);
                json!({ "type": "array", "items": items, "maxItems": route.operation.max_limit })
            }
            ResponseContent::None | ResponseContent::File(_) => Value::Null,
        };
        let examples = self.examples(status, |found| is(found, route));
        let described = types.iter().map(|media_type| {
            let schema = if schema.is_null() { file_schema(media_type) } else { schema.clone() };
            let described = json!({ "schema": schema, "examples": examples });
            ((*media_type).to_owned(), without_empty(described))
        });
        let mut content: Map<_, _> = described.collect();
        if matches!(answer.content, ResponseContent::Stream(_)) {
            let (streams, pages) = examples_of_streams(examples);
            let schema = file_schema(stream::MEDIA_TYPE);
            let described = json!({ "schema": schema, "examples": streams });
            content.insert(stream::MEDIA_TYPE.to_owned(), without_empty(described));
            content["application/json"]["examples"] = pages;
        }
        without_empty(json!({ "description": about, "headers": headers, "content": content }))
    }

    /// The response that has the `kinds`, which are of one status.
    fn problem(
        &mut self,
        kinds: &[&ProblemType],
        is_request: impl Fn(&Match<'_>) -> bool,
    ) -> Value {
        let status = kinds.first().map_or(0, |kind| kind.status);
        let titles: Vec<_> =
            kinds.iter().map(|kind| format!("* `{}`: {}", kind.slug, kind.title)).collect();
        let types: Vec<_> = kinds.iter().map(|kind| format!("/problems/{}", kind.slug)).collect();
        let (always, perhaps) = problem_fields(status);
        let headers = headers(always, perhaps);
        // Types beside what follows from them, and no `const` number: some code generators need it so.
        let schema = json!({ "allOf": [
            self.schemas.reference(SchemaRef::of::<ProblemBody<'static>>()),
            { "properties": {
                "type": { "type": "string", "enum": types },
                "status": { "type": "integer", "enum": [status] },
            } },
        ] });
        let examples = self.examples(status, is_request);
        let described = without_empty(json!({ "schema": schema, "examples": examples }));
        without_empty(json!({
            "description": titles.join("\n"),
            "headers": headers,
            "content": { "application/problem+json": described },
        }))
    }

    fn examples(&self, status: u16, is_request: impl Fn(&Match<'_>) -> bool) -> Value {
        let fitting = self.examples.iter().filter(|example| {
            example.status == status && is_request(&routes::find(example.method, example.path))
        });
        let with_content = fitting.filter(|example| !example.content.is_null());
        with_content
            .map(|Example { name, title, content, .. }| {
                ((*name).to_owned(), json!({ "summary": title, "value": content }))
            })
            .collect::<Map<_, _>>()
            .into()
    }
}

fn is(found: &Match<'_>, route: &Route) -> bool {
    matches!(found, Match::Route(found, _) if std::ptr::eq(*found, route))
}

/// Descriptions of response fields: of those that are always there, and of those that may be.
fn headers(always: &[Field], perhaps: &[Field]) -> Map<String, Value> {
    let always = always.iter().map(|field| described(*field, true));
    always.chain(perhaps.iter().map(|field| described(*field, false))).collect()
}

/// The examples that are streams, and those that are JSON.
fn examples_of_streams(examples: Value) -> (Value, Value) {
    let Value::Object(examples) = examples else { return (json!({}), json!({})) };
    let is_stream = |(_, example): &(String, Value)| example["value"].is_string();
    let (streams, pages): (Map<_, _>, Map<_, _>) = examples.into_iter().partition(is_stream);
    (streams.into(), pages.into())
}

/// The schema of a whole file.
fn file_schema(media_type: &str) -> Value {
    match media_type.split('/').next() {
        Some("text") => json!({ "type": "string" }),
        Some("application") => json!({ "type": "object" }),
        _ => json!({ "contentMediaType": media_type }),
    }
}

/// The object but for its members that are objects without any.
fn without_empty(mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.retain(|_, member| member.as_object().is_none_or(|member| !member.is_empty()));
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::contract::Parameter;
    use crate::model::MAX_SESSIONS;

    #[test]
    fn every_schema_that_is_referred_to_is_there() {
        let document = document(&[]);
        let text = document.to_string();
        let references =
            text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next());
        let mut count = 0;
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
            count += 1;
        }
        assert!(count > 20, "{count}");
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let mut ids: Vec<_> = ROUTES.iter().map(|route| route.operation.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ROUTES.len());
    }

    #[test]
    fn a_list_has_no_more_items_than_its_limit_allows() {
        let document = document(&[]);
        let mut count = 0;
        for route in ROUTES.iter().filter(|route| route.operation.query.contains(&Parameter::Limit))
        {
            let operation = &document["paths"][route.path][route.method.to_ascii_lowercase()];
            let content = &operation["responses"]["200"]["content"]["application/json"];
            let parameters = operation["parameters"].as_array().unwrap();
            let limit = parameters.iter().find(|parameter| parameter["name"] == "limit").unwrap();
            assert_eq!(content["schema"]["maxItems"], limit["schema"]["maximum"], "{}", route.path);
            count += 1;
        }
        assert!(count > 5, "{count}");
        // A list that comes whole has the items that there can be.
        let sessions = &document["paths"]["/api/users/me/sessions"]["get"]["responses"]["200"];
        assert_eq!(sessions["content"]["application/json"]["schema"]["maxItems"], MAX_SESSIONS);
    }

    /// The macros that make schemas take literals only.
    #[test]
    fn literals_in_schemas_are_the_limits() {
        use crate::model::{MAX_ID, MAX_PASSWORD_BYTES, MAX_TEXT_BYTES, MAX_USERNAME_LEN};
        let document = document(&[]);
        let schemas = &document["components"]["schemas"];
        for (schema, property, keyword, limit) in [
            ("Credentials", "username", "maxLength", MAX_USERNAME_LEN),
            ("Credentials", "password", "maxLength", MAX_PASSWORD_BYTES),
            ("User", "username", "maxLength", MAX_USERNAME_LEN),
            ("GeneralDraft", "text", "maxLength", MAX_TEXT_BYTES),
            ("EditDraft", "text", "maxLength", MAX_TEXT_BYTES),
            ("PrivateDraft", "text", "maxLength", MAX_TEXT_BYTES),
            ("Message", "text", "maxLength", MAX_TEXT_BYTES),
            ("Message", "to_user", "maximum", usize::try_from(MAX_ID).unwrap()),
            ("Message", "from_username", "maxLength", MAX_USERNAME_LEN),
            ("Conversation", "with_user", "maximum", usize::try_from(MAX_ID).unwrap()),
            ("Conversation", "username", "maxLength", MAX_USERNAME_LEN),
            ("Conversation", "unread", "maximum", crate::store::UNREAD_LOOK),
        ] {
            let found = &schemas[schema]["properties"][property][keyword];
            assert_eq!(found.as_u64(), Some(limit as u64), "{schema}.{property}");
        }
    }
}
