//! Checks that the `OpenAPI` document is valid and closed, so that responses can be checked against
//! it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use veche::problem::KINDS;

use crate::contract::Document;
use crate::contract::document::{escaped, members};
use crate::contract::response::Schema;

/// The keywords that a schema may have. A validator ignores any other, and nobody would notice.
const KEYWORDS: [&str; 20] = [
    "contentMediaType",
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "default",
    "description",
    "enum",
    "example",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minLength",
    "minimum",
    "pattern",
    "properties",
    "required",
];

/// The content of a response.
struct Content {
    pointer: String,
    schema: &'static Value,
    examples: Vec<&'static Value>,
}

fn contents() -> Vec<Content> {
    let mut responses: Vec<_> = members("/components/responses")
        .map(|(name, _)| format!("/components/responses/{name}"))
        .collect();
    for (template, operations) in members("/paths") {
        for method in operations.as_object().unwrap().keys() {
            let at = format!("/paths/{}/{method}/responses", escaped(template));
            responses.extend(members(&at).map(|(status, _)| format!("{at}/{status}")));
        }
    }
    let contents = responses.iter().flat_map(|response| {
        let at = format!("{response}/content");
        members(&at).map(move |(media_type, content)| {
            let pointer = format!("{at}/{}/schema", escaped(media_type));
            let examples = content["examples"].as_object().into_iter().flat_map(Map::values);
            let examples = examples.map(|example| &example["value"]).collect();
            Content { pointer, schema: &content["schema"], examples }
        })
    });
    contents.collect()
}

/// The parts of a schema: itself, what it refers to and everything that it is made of.
fn parts(schema: &'static Value) -> Vec<&'static Value> {
    let mut parts = vec![schema];
    if let Some(pointer) = schema["$ref"].as_str().and_then(|it| it.strip_prefix('#')) {
        parts.extend(self::parts(Document::json().pointer(pointer).unwrap()));
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        parts.extend(self::parts(part));
    }
    parts
}

/// The schemas of a member, or of the items of a list.
fn of_member(parts: &[&'static Value], name: &str) -> Vec<&'static Value> {
    let schemas = parts.iter().filter_map(|part| part["properties"].get(name));
    schemas.flat_map(self::parts).collect()
}

fn of_items(parts: &[&'static Value]) -> Vec<&'static Value> {
    parts.iter().filter_map(|part| part.get("items")).flat_map(self::parts).collect()
}

/// All variants of `value` with one change that breaks its schema.
fn broken(value: &Value, schema: &[&'static Value]) -> Vec<(String, Value)> {
    let mut broken = Vec::new();
    for other in
        [json!(null), json!(true), json!(-1.5), json!("\u{1}"), json!([0]), json!({"?": 0})]
    {
        if std::mem::discriminant(&other) != std::mem::discriminant(value) {
            broken.push((format!("{other} for it"), other));
        }
    }
    match value {
        Value::Object(members) => {
            let with = |name: &str, member: Option<Value>| {
                let mut changed: Map<_, _> = members.clone();
                match member {
                    Some(member) => changed.insert(name.to_owned(), member),
                    None => changed.remove(name),
                };
                Value::from(changed)
            };
            broken.push(("an unknown member".to_owned(), with("unknown", Some(json!(0)))));
            for (name, member) in members {
                let is_required = schema.iter().any(|part| {
                    part["required"].as_array().is_some_and(|names| names.contains(&json!(name)))
                });
                if is_required {
                    broken.push((format!("no {name}"), with(name, None)));
                }
                for (how, member) in self::broken(member, &of_member(schema, name)) {
                    broken.push((format!("{name}: {how}"), with(name, Some(member))));
                }
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                for (how, item) in self::broken(item, &of_items(schema)) {
                    let mut changed = items.clone();
                    changed[n] = item;
                    broken.push((format!("{n}: {how}"), changed.into()));
                }
            }
        }
        _ => {}
    }
    broken
}

#[test]
fn every_example_is_valid_and_no_other_is() {
    let mut count = (0, 0);
    for content in contents() {
        let (schema, parts) = (Schema::at(&content.pointer), parts(content.schema));
        for example in &content.examples {
            schema.check(example).unwrap_or_else(|why| panic!("{example}: {why}"));
            count.0 += 1;
            for (how, broken) in broken(example, &parts) {
                let checked = schema.check(&broken);
                assert!(checked.is_err(), "{how} is allowed by {}: {broken}", content.pointer);
                count.1 += 1;
            }
        }
    }
    assert!(count.0 > 50 && count.1 > 3000, "{count:?}");
}

/// Bodies of requests are open, because the server ignores what it does not know.
#[test]
fn every_object_in_a_response_is_closed() {
    fn check(schema: &'static Value, is_part: bool, closed: &mut BTreeSet<&'static str>) {
        if let Some(pointer) = schema["$ref"].as_str() {
            if closed.insert(pointer) {
                check(Document::json().pointer(&pointer[1..]).unwrap(), is_part, closed);
            }
            return;
        }
        let is_object = schema["type"] == "object" || schema.get("properties").is_some();
        // A part that extends another part which is closed cannot be closed by itself.
        if is_object && !(is_part && schema.get("type").is_none()) {
            assert_eq!(schema["additionalProperties"], false, "{schema}");
        }
        let members = schema["properties"].as_object().into_iter().flat_map(Map::values);
        members.for_each(|member| check(member, false, closed));
        if let Some(items) = schema.get("items") {
            check(items, false, closed);
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            check(part, true, closed);
        }
        for one in schema["anyOf"].as_array().into_iter().flatten() {
            check(one, false, closed);
        }
    }
    let mut closed = BTreeSet::new();
    // The document itself is described elsewhere: in the specification of OpenAPI.
    let contents = contents()
        .into_iter()
        .filter(|content| !content.pointer.starts_with("/paths/~1openapi.json/get/responses/200/"));
    contents.for_each(|content| check(content.schema, false, &mut closed));
    assert!(closed.len() >= 6, "{closed:?}");
}

/// Every value under a key that holds a schema or, in a schema, schemas.
fn schemas() -> Vec<&'static Value> {
    fn within(value: &'static Value, found: &mut Vec<&'static Value>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| within(item, found)),
            Value::Object(members) => {
                for (key, member) in members {
                    match &**key {
                        "examples" | "example" => {}
                        "schema" => found.push(member),
                        "schemas" => {
                            found.extend(member.as_object().into_iter().flat_map(Map::values));
                        }
                        _ => within(member, found),
                    }
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    within(Document::json(), &mut found);
    found
}

#[test]
fn every_schema_is_valid() {
    fn check_keywords(schema: &Value) {
        for (keyword, value) in schema.as_object().unwrap() {
            assert!(KEYWORDS.contains(&&**keyword) || keyword == "type", "{keyword} in {schema}");
            match &**keyword {
                "properties" => value.as_object().unwrap().values().for_each(check_keywords),
                "items" => check_keywords(value),
                "allOf" | "anyOf" => value.as_array().unwrap().iter().for_each(check_keywords),
                _ => {}
            }
        }
    }
    let schemas = schemas();
    assert!(schemas.len() > 150, "{}", schemas.len());
    for schema in schemas {
        let valid = jsonschema::draft202012::meta::validate(schema);
        valid.unwrap_or_else(|why| panic!("{why}: {schema}"));
        check_keywords(schema);
    }
}

#[test]
fn every_reference_resolves() {
    fn check(value: &Value, count: &mut usize) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| check(item, count)),
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref") {
                    let pointer = reference.as_str().unwrap().strip_prefix("#/").unwrap();
                    let found = Document::json().pointer(&format!("/{pointer}"));
                    assert!(found.is_some(), "{reference}");
                    *count += 1;
                }
                members.values().for_each(|member| check(member, count));
            }
            _ => {}
        }
    }
    let mut count = 0;
    check(Document::json(), &mut count);
    assert!(count > 100, "{count}");
}

/// The specification's rules beyond the form of the document.
#[test]
fn operations_are_in_order() {
    let (mut ids, mut count) = (BTreeSet::new(), 0);
    for (template, operations) in Document::json()["paths"].as_object().unwrap() {
        let variables: BTreeSet<_> = template
            .split('/')
            .filter_map(|segment| {
                segment.strip_prefix('{').map(|rest| rest.strip_suffix('}').unwrap())
            })
            .collect();
        for (method, operation) in operations.as_object().unwrap() {
            let what = format!("{method} {template}");
            ids.insert(operation["operationId"].as_str().unwrap());
            count += 1;
            let mut named = BTreeSet::new();
            let mut in_path = BTreeSet::new();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                assert!(named.insert((parameter["in"].as_str(), name)), "{what}: {name} twice");
                if parameter["in"] == "path" {
                    assert_eq!(parameter["required"], true, "{what}: {name}");
                    in_path.insert(name);
                }
            }
            assert_eq!(in_path, variables, "{what}");
            let known = &Document::json()["tags"];
            for tag in operation["tags"].as_array().unwrap() {
                assert!(known.as_array().unwrap().iter().any(|it| it["name"] == *tag), "{what}");
            }
            for security in operation["security"].as_array().into_iter().flatten() {
                for scheme in security.as_object().unwrap().keys() {
                    let schemes = &Document::json()["components"]["securitySchemes"];
                    assert!(schemes.get(scheme).is_some(), "{what}: {scheme}");
                }
            }
        }
    }
    assert_eq!(ids.len(), count, "{ids:?}");
}

/// Every type that a response can have leads to a page, and every such page has a type.
#[test]
fn problem_types_are_the_kinds() {
    let mut types = BTreeSet::new();
    for content in contents() {
        for part in content.schema["allOf"].as_array().into_iter().flatten() {
            let listed = part["properties"]["type"]["enum"].as_array();
            types.extend(listed.into_iter().flatten().map(|it| it.as_str().unwrap().to_owned()));
        }
    }
    let kinds = KINDS.iter().map(|kind| format!("/problems/{}", kind.slug)).collect();
    crate::assert_same(&types, &kinds);
}
