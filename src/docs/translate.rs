//! Translates a page, which is written for an empty store, for a deployment that has other users
//! and messages: names get a mark, and ids become those that the deployment assigned.
//!
//! Scripts contain only addresses, marked names and numbers of the deployment. A user name or an id
//! in a place that is not understood is an error, because it might be another user's.

mod ids;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::address::Address;
use super::shell::CurlRequest;
use crate::model::{MAX_ID, StoreId, Username};
use ids::Ids;

/// The origin of the deployment in the pages.
pub const ORIGIN: &str = "http://localhost:5000";

/// The kinds of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Accounts, which count from 1.
    User,
    /// Messages, which count from 0.
    Message,
}

/// The names, ids and epoch of a page, and those of the deployment.
#[derive(Debug)]
pub struct Translation {
    address: Address,
    mark: String,
    users: Ids,
    messages: Ids,
    /// The deployment's ids of the messages that went to the general chat.
    general: BTreeSet<u64>,
    /// The page's epoch and the deployment's.
    epoch: Option<(String, String)>,
    /// The shell's variables that hold what a server answered.
    captured: BTreeSet<String>,
}

impl Translation {
    /// The translation of one page. `mark` is appended to every name.
    #[must_use]
    pub fn new(address: Address, mark: String) -> Translation {
        Translation {
            address,
            mark,
            users: Ids::from(1),
            messages: Ids::from(0),
            general: BTreeSet::new(),
            epoch: None,
            captured: BTreeSet::new(),
        }
    }

    /// Translates a block of commands. The error says how it might affect other users.
    pub fn script(&mut self, script: &str) -> Result<String, String> {
        let assignments = script.lines().filter_map(|line| line.split_once("=$("));
        let captured: Vec<&str> = assignments.map(|(name, _)| name.trim()).collect();
        // A variable that this script sets is not checked before it is used.
        self.captured.retain(|name| !captured.contains(&name.as_str()));
        let mut translated = String::with_capacity(script.len() * 2);
        let mut rest = script;
        while let Some((before, behind)) = rest.split_once(ORIGIN) {
            translated.push_str(&self.text(before)?);
            let (target, behind) = split_target(behind);
            translated.push_str(self.address.as_str());
            translated.push_str(&self.target(target)?);
            rest = behind;
        }
        translated.push_str(&self.text(rest)?);
        self.captured.extend(captured.into_iter().map(str::to_owned));
        Ok(translated)
    }

    /// Translates the part of an address after the host.
    fn target(&self, target: &str) -> Result<String, String> {
        if let Some(name) = target.strip_prefix('$').filter(|name| self.captured.contains(*name)) {
            return Ok(format!("${name}"));
        }
        if target.contains('$') {
            return Err(format!("'{target}' in an address may be anything"));
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let mut translated = self.path(path);
        let of_users = ["/api/users", "/api/users/me/blocks"].contains(&path);
        for (n, parameter) in query.iter().flat_map(|query| query.split('&')).enumerate() {
            translated.push(if n == 0 { '?' } else { '&' });
            let Some((name, value)) = parameter.split_once('=') else {
                translated.push_str(parameter);
                continue;
            };
            let value = match (name, number(value)) {
                ("with", Some(id)) => self.users.get(id).to_string(),
                ("before" | "after", Some(id)) if of_users => self.users.cursor(id).to_string(),
                ("before" | "after", Some(id)) => self.messages.cursor(id).to_string(),
                ("username", _) => self.name(value)?,
                ("epoch", _) => self.epoch(value).to_owned(),
                _ => value.to_owned(),
            };
            let _ = write!(translated, "{name}={value}");
        }
        Ok(translated)
    }

    /// Translates a path of the API, in a request or in a `Location`.
    #[must_use]
    pub fn path(&self, path: &str) -> String {
        for (kind, before) in [
            (Kind::User, "/api/users/me/conversations/"),
            (Kind::User, "/api/users/me/blocks/"),
            (Kind::User, "/api/users/"),
            (Kind::Message, "/api/messages/"),
        ] {
            let Some(behind) = path.strip_prefix(before) else { continue };
            let (id, rest) = behind.split_at(behind.find('/').unwrap_or(behind.len()));
            if let Some(id) = number(id) {
                let id = match kind {
                    Kind::User => self.users.get_or_general(id),
                    Kind::Message => self.messages.get(id),
                };
                return format!("{before}{id}{rest}");
            }
        }
        path.to_owned()
    }

    /// A path or an address of the deployment, as a path of the API.
    #[must_use]
    pub fn relative<'a>(&self, target: &'a str) -> &'a str {
        self.address.relative(target)
    }

    /// Translates the commands around addresses: the bodies that they send.
    fn text(&self, text: &str) -> Result<String, String> {
        let mut translated = String::with_capacity(text.len() * 2);
        let mut rest = text;
        while let Some((at, key)) = first_of(rest, &["username", "to_user", "up_to"]) {
            let (before, behind) = rest.split_at(at + key.len());
            translated.push_str(before);
            rest = behind;
            let quoted = translated.ends_with(&format!("\"{key}"));
            let (Some(value), true) = (member_value(rest), quoted) else {
                return Err(format!("'{key}' stands where it is not understood"));
            };
            // A value that the shell inserts. If the body ends here, the quote is its last
            // character.
            let quote = value.strip_prefix('\'');
            if value.starts_with('$') || quote.is_some_and(|it| it.starts_with(['$', '"', '\''])) {
                return Err(format!("'{key}' is not written out"));
            }
            translated.push_str(&rest[..rest.len() - value.len()]);
            rest = value;
            if let (Some(value), "username") = (value.strip_prefix('"'), key) {
                let name = value.split('"').next().unwrap_or_default();
                let _ = write!(translated, "\"{}", self.name(name)?);
                rest = &value[name.len()..];
            } else if key != "username" {
                let digits = value.bytes().take_while(u8::is_ascii_digit).count();
                let (id, behind) = value.split_at(digits);
                let _ = match number(id) {
                    Some(id) if key == "up_to" => {
                        write!(translated, "{}", self.messages.cursor(id))
                    }
                    Some(id) => write!(translated, "{}", self.users.get_or_general(id)),
                    None => write!(translated, "{id}"),
                };
                rest = behind;
            }
        }
        translated.push_str(rest);
        Ok(translated)
    }

    /// Translates a user's name. A string that cannot be a name stays, because nobody has it.
    fn name(&self, name: &str) -> Result<String, String> {
        if name.contains(['$', '\\', '%', '+', '`', '\'']) {
            return Err(format!("the user name {name} is not written out"));
        }
        if Username::parse(name).is_err() {
            return Ok(name.to_owned());
        }
        let marked = format!("{name}{}", self.mark);
        Username::parse(&marked).map_err(|_| format!("the user name {name} is too long"))?;
        Ok(marked)
    }

    fn epoch<'a>(&'a self, epoch: &'a str) -> &'a str {
        match &self.epoch {
            Some((documented, actual)) if documented == epoch => actual,
            _ => epoch,
        }
    }

    /// The deployment's id for one of the page.
    #[must_use]
    pub fn id(&self, kind: Kind, id: u64) -> u64 {
        self.ids(kind).get(id)
    }

    fn ids(&self, kind: Kind) -> &Ids {
        match kind {
            Kind::User => &self.users,
            Kind::Message => &self.messages,
        }
    }

    /// The page's id for one of the deployment.
    #[must_use]
    pub fn documented(&self, kind: Kind, actual: u64) -> Option<u64> {
        let known = &self.ids(kind).known;
        known.iter().find(|(_, its)| **its == actual).map(|(documented, _)| *documented)
    }

    /// The deployment's ids of what this page has on a list that is everybody's: all users, or the
    /// messages in the general chat.
    #[must_use]
    pub fn shared(&self, kind: Kind) -> BTreeSet<u64> {
        match kind {
            Kind::User => self.users.known.values().copied().collect(),
            Kind::Message => self.general.clone(),
        }
    }

    /// `true` if a name has the mark of this page.
    #[must_use]
    pub fn is_marked(&self, name: &str) -> bool {
        name.ends_with(&self.mark)
    }

    /// Records the id that a request created, which the page shows as `documented`. The id that an
    /// empty store assigns is used up even if this deployment created nothing.
    pub fn learn(&mut self, request: &CurlRequest, documented: Option<&str>) -> Result<(), String> {
        let made = request.location.as_deref().filter(|_| request.status == Some(201));
        let made = made.map(|location| self.address.relative(location));
        let resource = |location: &str| {
            let user = location.strip_prefix("/api/users/").map(|id| (Kind::User, id));
            let message = || location.strip_prefix("/api/messages/").map(|id| (Kind::Message, id));
            let (kind, id) = user.or_else(message)?;
            Some((kind, number(id).filter(|id| *id < MAX_ID)?))
        };
        let actual = made.and_then(resource);
        let documented = documented.and_then(resource);
        let Some((kind, _)) = documented.or(actual) else {
            return match request.status {
                Some(201) => Err("it was answered 201 without a Location that tells an id".into()),
                _ => Ok(()),
            };
        };
        let path = self.address.relative(&request.target);
        let to_general = kind == Kind::Message && path == "/api/messages";
        let ids = match kind {
            Kind::User => &mut self.users,
            Kind::Message => &mut self.messages,
        };
        let id = documented.map_or(ids.next, |(_, id)| id);
        // A message that is sent again under its key gets the first answer again.
        if documented.is_some() && actual.is_some_and(|(_, it)| ids.known.get(&id) == Some(&it)) {
            return Ok(());
        }
        ids.next = id + 1;
        let Some((_, actual)) = actual.filter(|(its_kind, _)| *its_kind == kind) else {
            return Ok(());
        };
        // Ids ascend: one that does not is another user's.
        if ids.known.last_key_value().is_some_and(|(_, last)| *last >= actual) {
            return Err(format!("the id {actual} was given out before"));
        }
        ids.known.insert(id, actual);
        if to_general {
            self.general.insert(actual);
        }
        Ok(())
    }

    /// Records the deployment's epoch from the `Link` of the page and of the response.
    pub fn learn_epoch(&mut self, documented: &str, actual: &str) {
        let epoch = |links: &str| {
            let digits = links.split_once("epoch=")?.1.get(..16)?;
            StoreId::parse(digits).map(|epoch| epoch.to_string())
        };
        if self.epoch.is_none() {
            self.epoch = epoch(documented).zip(epoch(actual));
        }
    }

    /// Translates a `Link`.
    #[must_use]
    pub fn links(&self, links: &str) -> String {
        let link = |link: &str| {
            let target = link.strip_prefix('<').and_then(|link| link.split_once('>'));
            let Some((target, rel)) = target else { return link.to_owned() };
            let target = self.target(target).unwrap_or_else(|_| target.to_owned());
            format!("<{target}>{rel}")
        };
        links.split(", ").map(link).collect::<Vec<_>>().join(", ")
    }

    /// Translates a body.
    #[must_use]
    pub fn json(&self, value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(|item| self.json(item)).collect(),
            Value::Object(members) => {
                let kind = kind(value);
                let member = |(key, value): (&String, &Value)| {
                    let translated = match (key.as_str(), value.as_u64(), value.as_str()) {
                        ("id", Some(id), _) => self.id(kind, id).into(),
                        ("read_up_to", Some(id), _) => self.messages.get(id).into(),
                        (
                            "from_user" | "to_user" | "with_user" | "by_user" | "user",
                            Some(id),
                            _,
                        ) => self.users.get_or_general(id).into(),
                        // A deleted account is named by its id.
                        ("username" | "from_username", _, Some(name))
                            if tombstone(name).is_some() =>
                        {
                            let id = tombstone(name).map_or(0, |id| self.users.get(id));
                            format!("{TOMBSTONE}{id}").into()
                        }
                        ("username" | "from_username", _, Some(name)) => {
                            self.name(name).map_or_else(|_| value.clone(), Value::from)
                        }
                        _ => self.json(value),
                    };
                    (key.clone(), translated)
                };
                Value::Object(members.iter().map(member).collect())
            }
            other => other.clone(),
        }
    }
}

/// The shell variables that stand for the part of an address after the host: links that are
/// followed.
pub fn followed(script: &str) -> impl Iterator<Item = &str> {
    script.split(ORIGIN).skip(1).filter_map(|behind| split_target(behind).0.strip_prefix('$'))
}

/// Splits a script after an address.
fn split_target(behind: &str) -> (&str, &str) {
    let end = behind.find(|c: char| c.is_whitespace() || "'\"|;()<>`".contains(c));
    behind.split_at(end.unwrap_or(behind.len()))
}

/// The beginning of a deleted account's name, before the id.
const TOMBSTONE: &str = "deleted~";

fn tombstone(name: &str) -> Option<u64> {
    name.strip_prefix(TOMBSTONE).and_then(number)
}

/// The kind of an object's `id`.
#[must_use]
pub fn kind(object: &Value) -> Kind {
    let message = object.get("from_user").or(object.get("status")).is_some();
    if message { Kind::Message } else { Kind::User }
}

/// An id as the API takes it, without leading zeros.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let canonical = digits && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

/// The first of the words in `text`, and its position.
fn first_of<'a>(text: &str, words: &[&'a str]) -> Option<(usize, &'a str)> {
    words.iter().filter_map(|word| Some((text.find(word)?, *word))).min()
}

/// The value of a member, after its name, the closing quote and the colon.
fn member_value(behind: &str) -> Option<&str> {
    Some(behind.strip_prefix('"')?.trim_start().strip_prefix(':')?.trim_start())
}

#[cfg(test)]
mod tests;
