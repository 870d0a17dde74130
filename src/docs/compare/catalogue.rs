//! The users and messages that a page shows.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::docs::translate::Kind;

/// Every user and message that a page shows, by the page's ids.
#[derive(Debug, Default)]
pub struct Catalogue {
    users: BTreeMap<u64, Value>,
    messages: BTreeMap<u64, Value>,
}

impl Catalogue {
    /// From all bodies of a page.
    pub fn of<'a>(bodies: impl Iterator<Item = &'a str>) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for body in bodies.filter_map(|body| serde_json::from_str(body).ok()) {
            let items = match body {
                Value::Array(items) => items,
                item => vec![item],
            };
            for item in items {
                let Some(id) = item["id"].as_u64() else { continue };
                if item.get("from_user").is_some() {
                    catalogue.messages.insert(id, item);
                } else if item.get("username").is_some() {
                    catalogue.users.insert(id, item);
                }
            }
        }
        catalogue
    }

    pub(super) fn get(&self, kind: Kind, id: u64) -> Option<&Value> {
        match kind {
            Kind::User => self.users.get(&id),
            Kind::Message => self.messages.get(&id),
        }
    }
}
