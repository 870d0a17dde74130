//! What differs between the response that a page shows and the one that came.
//!
//! A list that is everybody's, the general chat or the users, may hold what others have written.
//! There it is not the page shown that counts, but what of it is ours: that is what the request
//! asks for, each as the documentation shows it, unless others took its place on the page.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::session::Exchange;
use super::translate::{Kind, Translation};
use super::volatile;
use crate::model::{Cursor, DEFAULT_PAGE_LIMIT, Window};

/// Longest piece of a value that is shown, in characters.
const MAX_SHOWN: usize = 120;
/// How much of what is equal is shown before a difference, in characters.
const CONTEXT: usize = 30;

/// Something that is not as the page has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which part of the response.
    pub what: String,
    /// What the page has, in terms of the deployment.
    pub expected: String,
    /// What came.
    pub actual: String,
}

/// What came of an example.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Nothing, if it is the same.
    pub differences: Vec<Difference>,
    /// How many items on the list are other people's.
    pub others: usize,
}

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

    fn get(&self, kind: Kind, id: u64) -> Option<&Value> {
        match kind {
            Kind::User => self.users.get(&id),
            Kind::Message => self.messages.get(&id),
        }
    }
}

/// A response, taken apart.
struct Response<'a> {
    status: &'a str,
    fields: Vec<(&'a str, &'a str)>,
    body: &'a str,
}

impl<'a> Response<'a> {
    fn parse(text: &'a str) -> Response<'a> {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split_once(' ')).map_or("", |(_, it)| it);
        let fields = lines.filter_map(|line| line.split_once(':'));
        Response { status, fields: fields.map(|(name, it)| (name, it.trim())).collect(), body }
    }

    fn field(&self, name: &str) -> Option<&'a str> {
        let found = self.fields.iter().find(|(its_name, _)| its_name.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    }
}

/// The `Location` that a page shows of what was made, if it was.
#[must_use]
pub fn made(documented: &str) -> Option<Option<&str>> {
    let documented = Response::parse(documented);
    documented.status.starts_with("201").then(|| documented.field("Location"))
}

/// Compares a response with that which the page shows. `target` is what was asked for, without
/// what the deployment has before the paths of the API.
pub fn compare(
    documented: &str,
    exchange: &Exchange,
    target: &str,
    translation: &mut Translation,
    catalogue: &Catalogue,
) -> Verdict {
    let (documented, actual) = (Response::parse(documented), Response::parse(&exchange.response));
    let mut verdict = Verdict::default();
    if code(documented.status) != code(actual.status) {
        verdict.add("status", documented.status, actual.status);
        verdict.add("body", documented.body, actual.body);
        return verdict;
    }
    if let (Some(documented), Some(actual)) = (documented.field("Link"), actual.field("Link")) {
        translation.learn_epoch(documented, actual);
    }
    let path = target.split('?').next().unwrap_or_default();
    let shared = Shared::of(&exchange.method, target, &documented);
    verdict.compare_fields(&documented, &actual, shared.is_some(), translation);
    match (serde_json::from_str::<Value>(documented.body), shared) {
        (body, Some(shared)) => {
            let comparison = Comparison { shared, translation, catalogue, documented: &documented };
            comparison.compare(body.is_ok(), &actual, &mut verdict);
        }
        (Ok(body), None) => {
            let expected = if speaks_of_us(path) { translation.json(&body) } else { body };
            verdict.compare_json(&expected, actual.body);
        }
        (Err(_), None) => verdict.compare_text(documented.body, actual.body),
    }
    verdict
}

fn code(status: &str) -> &str {
    status.split(' ').next().unwrap_or_default()
}

/// Whether the answers of a path speak of users and messages, rather than of the API.
fn speaks_of_us(path: &str) -> bool {
    path.starts_with("/api/") || path.ends_with("/register") || path.ends_with("/login")
}

impl Verdict {
    /// What to show of a case that could not be compared.
    #[must_use]
    pub fn failed(expected: &str, actual: &str) -> Verdict {
        let mut verdict = Verdict::default();
        verdict.add("response", expected, actual);
        verdict
    }

    fn add(&mut self, what: impl Into<String>, expected: &str, actual: &str) {
        let common = expected.chars().zip(actual.chars()).take_while(|(a, b)| a == b).count();
        let skipped = if expected.len().max(actual.len()) > MAX_SHOWN {
            common.saturating_sub(CONTEXT)
        } else {
            0
        };
        self.differences.push(Difference {
            what: what.into(),
            expected: excerpt(expected, skipped),
            actual: excerpt(actual, skipped),
        });
    }

    fn compare_fields(
        &mut self,
        documented: &Response<'_>,
        actual: &Response<'_>,
        shared: bool,
        translation: &Translation,
    ) {
        for (name, value) in &documented.fields {
            if volatile::is_volatile_field(name) || (shared && *name == "Link") {
                continue;
            }
            let expected = match *name {
                "Link" => translation.links(value),
                "Location" => translation.path(value),
                _ => (*value).to_owned(),
            };
            let mut values = actual
                .fields
                .iter()
                .filter(|(its_name, _)| its_name.eq_ignore_ascii_case(name))
                .map(|(_, value)| *value);
            let same = |actual: &str| match *name {
                "Content-Type" => essence(&expected) == essence(actual),
                "ETag" => is_tag(actual),
                "Location" => translation.relative(actual) == expected,
                _ => actual == expected,
            };
            if !values.clone().any(same) {
                self.add(*name, &expected, values.next().unwrap_or("nothing"));
            }
        }
    }

    fn compare_text(&mut self, expected: &str, actual: &str) {
        let (expected, actual) = (expected.trim_end(), actual.trim_end());
        if expected == actual {
            return;
        }
        let differing = (1..).zip(expected.lines().zip(actual.lines()));
        match differing.into_iter().find(|(_, (expected, actual))| expected != actual) {
            Some((line, (expected, actual))) => {
                self.add(format!("body, line {line}"), expected, actual);
            }
            None => self.add("body", expected, actual),
        }
    }

    fn compare_json(&mut self, expected: &Value, actual: &str) {
        match serde_json::from_str(actual) {
            Ok(actual) => self.compare_values("body", None, expected, &actual),
            Err(_) => self.add("body", &expected.to_string(), actual),
        }
    }

    /// `name` is that of the member that holds the value.
    fn compare_values(&mut self, at: &str, name: Option<&str>, expected: &Value, actual: &Value) {
        match (expected, actual) {
            (Value::Object(expected), Value::Object(actual)) => {
                self.compare_objects(at, expected, actual);
            }
            (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
                for (n, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                    self.compare_values(&format!("{at}[{n}]"), None, expected, actual);
                }
            }
            (expected, actual) => match (name.and_then(volatile::member), actual.as_str()) {
                (Some(member), Some(actual)) if (member.fits)(actual) => {}
                (Some(member), _) => self.add(at, member.what, &actual.to_string()),
                (None, _) if expected == actual => {}
                (None, _) => self.add(at, &expected.to_string(), &actual.to_string()),
            },
        }
    }

    fn compare_objects(
        &mut self,
        at: &str,
        expected: &Map<String, Value>,
        actual: &Map<String, Value>,
    ) {
        for (name, expected) in expected {
            let at = format!("{at}.{name}");
            match actual.get(name) {
                Some(actual) => self.compare_values(&at, Some(name), expected, actual),
                None => self.add(at, &expected.to_string(), "nothing"),
            }
        }
        for (name, actual) in actual.iter().filter(|(name, _)| !expected.contains_key(*name)) {
            self.add(format!("{at}.{name}"), "nothing", &actual.to_string());
        }
    }
}

/// What of a text to show, behind what is skipped: nobody's control characters reach the terminal.
pub(super) fn excerpt(text: &str, skipped: usize) -> String {
    let mut shown = if skipped > 0 { "…".to_owned() } else { String::new() };
    let mut characters = text.chars().skip(skipped);
    for c in characters.by_ref().take(MAX_SHOWN) {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    if characters.next().is_some() {
        shown.push('…');
    }
    if text.is_empty() { "nothing".to_owned() } else { shown }
}

fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// An entity tag (RFC 9110, section 8.8.3).
fn is_tag(text: &str) -> bool {
    let tag = text.strip_prefix("W/").unwrap_or(text);
    tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"')
}

/// A request for a page of a list that is everybody's.
struct Shared<'a> {
    kind: Kind,
    path: &'a str,
    window: Window,
}

impl<'a> Shared<'a> {
    fn of(method: &str, target: &'a str, documented: &Response<'_>) -> Option<Shared<'a>> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let kind = match path {
            "/api/users" => Kind::User,
            "/api/messages" => Kind::Message,
            _ => return None,
        };
        if !matches!(method, "GET" | "HEAD") || code(documented.status) != "200" {
            return None;
        }
        let mut window = Window { cursor: Cursor::Newest, limit: DEFAULT_PAGE_LIMIT };
        for (name, value) in query.split('&').filter_map(|parameter| parameter.split_once('=')) {
            match name {
                // One account or none: nobody else's can be among them.
                "username" => return None,
                "limit" => window.limit = value.parse().ok()?,
                "before" => window.cursor = Cursor::Before(value.parse().ok()?),
                "after" if value == "-1" => window.cursor = Cursor::From(0),
                "after" => window.cursor = Cursor::From(value.parse::<u64>().ok()?.checked_add(1)?),
                _ => {}
            }
        }
        Some(Shared { kind, path, window })
    }

    fn holds(&self, id: u64) -> bool {
        match self.window.cursor {
            Cursor::Newest => true,
            Cursor::Before(end) => id < end,
            Cursor::From(start) => id >= start,
        }
    }
}

/// What is to be said of such a page.
struct Comparison<'a> {
    shared: Shared<'a>,
    translation: &'a Translation,
    catalogue: &'a Catalogue,
    documented: &'a Response<'a>,
}

impl Comparison<'_> {
    fn compare(&self, has_body: bool, actual: &Response<'_>, verdict: &mut Verdict) {
        let ours = self.translation.shared(self.shared.kind);
        let links = actual.field("Link").unwrap_or_default();
        if !has_body {
            verdict.compare_text("", actual.body);
            self.compare_links_alone(&ours, links, verdict);
            return;
        }
        let Ok(Value::Array(items)) = serde_json::from_str(actual.body) else {
            verdict.add("body", self.documented.body, actual.body);
            return;
        };
        let ids: Option<Vec<u64>> = items.iter().map(|item| item["id"].as_u64()).collect();
        let Some(ids) = ids else {
            verdict.add("body", "an array of objects that have an id", actual.body);
            return;
        };
        self.compare_window(&ids, verdict);
        for (item, id) in items.iter().zip(&ids) {
            self.compare_item(item, *id, ours.contains(id), verdict);
        }
        self.compare_presence(&ours, &ids, verdict);
        self.compare_links(&ours, &ids, links, verdict);
    }

    /// Whether it is the page that was asked for, whoever's the items are.
    fn compare_window(&self, ids: &[u64], verdict: &mut Verdict) {
        let limit = self.shared.window.limit;
        if ids.len() > limit {
            verdict.add("body", &format!("at most {limit} items"), &format!("{}", ids.len()));
        }
        if !ids.is_sorted_by(|a, b| a < b) {
            verdict.add("body", "ids that ascend", &format!("{ids:?}"));
        }
        if let Some(stray) = ids.iter().find(|id| !self.shared.holds(**id)) {
            let cursor = self.shared.window.cursor;
            verdict.add("body", &format!("the page {cursor:?}"), &format!("the id {stray}"));
        }
    }

    fn compare_item(&self, item: &Value, id: u64, is_ours: bool, verdict: &mut Verdict) {
        let at = format!("body, id {id}");
        let kind = self.shared.kind;
        if is_ours {
            let documented = self.translation.documented(kind, id);
            let documented = documented.and_then(|id| self.catalogue.get(kind, id));
            if let Some(documented) = documented {
                let expected = self.translation.json(documented);
                verdict.compare_values(&at, None, &expected, item);
            }
            return;
        }
        verdict.others += 1;
        let author = item["from_user"].as_u64();
        let authors = self.translation.shared(Kind::User);
        let name = item["username"].as_str().unwrap_or_default();
        if author.is_some_and(|id| authors.contains(&id)) || self.translation.is_marked(name) {
            verdict.add(at, "nothing of ours", &item.to_string());
        } else if kind == Kind::Message && item["to_user"] != 0 {
            verdict.add(at, "nothing private", &item.to_string());
        }
    }

    /// What of ours should be there: all that was asked for, unless the page is full before.
    fn compare_presence(&self, ours: &BTreeSet<u64>, ids: &[u64], verdict: &mut Verdict) {
        let Window { cursor, limit } = self.shared.window;
        let full = ids.len() >= limit;
        let reached = |id: u64| match (cursor, ids.first(), ids.last()) {
            _ if !full => true,
            (Cursor::Newest | Cursor::Before(_), Some(first), _) => id >= *first,
            (Cursor::From(_), _, Some(last)) => id <= *last,
            _ => false,
        };
        for id in ours.iter().filter(|id| self.shared.holds(**id) && reached(**id)) {
            if ids.contains(id) {
                continue;
            }
            let kind = self.shared.kind;
            let documented = self.translation.documented(kind, *id);
            let documented = documented.and_then(|id| self.catalogue.get(kind, id));
            let expected = documented.map(|item| self.translation.json(item).to_string());
            verdict.add(format!("body, id {id}"), &expected.unwrap_or("it".to_owned()), "nothing");
        }
    }

    fn compare_links(
        &self,
        ours: &BTreeSet<u64>,
        ids: &[u64],
        actual: &str,
        verdict: &mut Verdict,
    ) {
        let first = ids.first().copied();
        let start = self.shared.window.start(first);
        let last = ids.last().copied().or(match self.shared.window.cursor {
            Cursor::Newest => None,
            Cursor::Before(id) | Cursor::From(id) => id.checked_sub(1),
        });
        let (with, without) = (self.links(Some(start), last), self.links(None, last));
        // Only other people know whether there is something of theirs on the page before.
        let must = ours.iter().any(|id| *id < start);
        let may = start > 0 && !(self.shared.window.cursor == Cursor::From(0));
        if !(actual == with && may || actual == without && !must) {
            let had_prev = actual.contains("rel=\"prev\"");
            let expected = if must || (may && had_prev) { with } else { without };
            verdict.add("Link", &expected, actual);
        }
    }

    /// The links of a page that is not seen itself: they lead somewhere that fits.
    fn compare_links_alone(&self, ours: &BTreeSet<u64>, actual: &str, verdict: &mut Verdict) {
        let cursor = |name: &str| {
            let digits = actual.split_once(&format!("?{name}="))?.1;
            digits.split('&').next()?.parse::<u64>().ok()
        };
        let (before, after) = (cursor("before"), cursor("after"));
        let fits = match self.shared.window.cursor {
            Cursor::Newest => after >= ours.last().copied(),
            Cursor::Before(end) => after.is_none_or(|after| after < end),
            Cursor::From(start) => after.is_none_or(|after| after.saturating_add(1) >= start),
        };
        if actual != self.links(before, after) || !fits {
            let after = if fits { after } else { ours.last().copied() };
            verdict.add("Link", &self.links(before, after), actual);
        }
    }

    /// The `Link` of a page, with the epoch as the page that is documented would have it.
    fn links(&self, before: Option<u64>, after: Option<u64>) -> String {
        let documented = self.documented.field("Link").unwrap_or_default();
        let translated = self.translation.links(documented);
        let epoch = translated.split_once("&epoch=").map_or("", |(_, it)| it);
        let epoch = epoch.split('>').next().unwrap_or_default();
        let Shared { path, window, .. } = &self.shared;
        let link = |cursor: &str, rel: &str| {
            format!("<{path}?{cursor}&limit={}&epoch={epoch}>; rel=\"{rel}\"", window.limit)
        };
        let after = after.map_or("after=-1".to_owned(), |id| format!("after={id}"));
        let next = link(&after, "next");
        match before {
            Some(before) => format!("{}, {next}", link(&format!("before={before}"), "prev")),
            None => next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::Address;
    use super::super::shell::Request;
    use super::*;

    const MESSAGES: &str = "[{\"id\":0,\"from_user\":1,\"to_user\":0,\"text\":\"zero\",\"sent_at\":\"2026-01-02T03:04:05.678Z\"},\
         {\"id\":1,\"from_user\":1,\"to_user\":0,\"text\":\"one\",\"sent_at\":\"2026-01-02T03:04:05.678Z\"}]";

    /// User 1 is 40; messages 0 and 1 are 70 and 75.
    fn translation() -> Translation {
        let address = Address::parse("http://chat").unwrap();
        let mut translation = Translation::new(address, "-0f-1".to_owned());
        for (target, location) in [
            ("/register", "/api/users/40"),
            ("/api/messages", "/api/messages/70"),
            ("/api/messages", "/api/messages/75"),
        ] {
            let request = Request {
                method: "POST".to_owned(),
                target: target.to_owned(),
                status: Some(201),
                location: Some(location.to_owned()),
            };
            translation.learn(&request, None).unwrap();
        }
        translation
    }

    fn verdict(target: &str, documented: &str, actual: &str) -> Verdict {
        let exchange = Exchange {
            name: String::new(),
            title: String::new(),
            command: String::new(),
            method: "GET".to_owned(),
            path: String::new(),
            response: actual.to_owned(),
        };
        let catalogue = Catalogue::of([MESSAGES].into_iter());
        compare(documented, &exchange, target, &mut translation(), &catalogue)
    }

    fn whats(verdict: &Verdict) -> Vec<&str> {
        verdict.differences.iter().map(|it| it.what.as_str()).collect()
    }

    #[test]
    fn what_a_front_may_change_is_no_difference() {
        let documented = "HTTP/1.1 200 OK\nDate: x\nContent-Type: application/json\nConnection: close\n\
                          Content-Length: 2\nAllow: GET\nETag: \"a\"\n\n{\"id\":1,\"token\":\"a.b.c\"}";
        let actual = "HTTP/1.1 200 Fine\ncontent-type: application/json; charset=utf-8\nVia: x\n\
                      allow: GET\netag: W/\"b\"\n\n{\"token\":\"x.y.z\",\"id\":40}";
        assert_eq!(verdict("/api/users/me", documented, actual), Verdict::default());
    }

    #[test]
    fn what_differs_is_named() {
        let documented = "HTTP/1.1 200 OK\nAllow: GET\nLocation: /api/users/1\n\n\
                          {\"id\":1,\"token\":\"a.b.c\",\"text\":\"a\",\"list\":[1]}";
        let actual = "HTTP/1.1 200 OK\nAllow: POST\n\n\
                      {\"id\":1,\"token\":\"abc\",\"text\":\"b\\u0007\",\"more\":0,\"list\":[1,2]}";
        let verdict = verdict("/api/users/me", documented, actual);
        assert_eq!(
            whats(&verdict),
            ["Allow", "Location", "body.id", "body.token", "body.text", "body.list", "body.more"]
        );
        let shown: Vec<_> =
            verdict.differences.iter().map(|it| (&*it.expected, &*it.actual)).collect();
        assert_eq!(shown[1], ("/api/users/40", "nothing"));
        assert_eq!(shown[2], ("40", "1"));
        assert_eq!(shown[4], ("\"a\"", "\"b\\u0007\""));
    }

    #[test]
    fn another_status_is_not_compared_further() {
        let differs = verdict("/", "HTTP/1.1 200 OK\nA: b\n\n{}", "HTTP/1.1 403 No\n\n\x1b[31mno");
        assert_eq!(whats(&differs), ["status", "body"]);
        assert_eq!(differs.differences[1].actual, "\\u{1b}[31mno");
    }

    #[test]
    fn what_is_long_is_shown_from_the_difference_on() {
        let (expected, actual) = (format!("{}b", "a".repeat(500)), "a".repeat(501));
        let differs = verdict(
            "/",
            &format!("HTTP/1.1 200 OK\n\n{expected}"),
            &format!("HTTP/1.1 200 OK\n\n{actual}"),
        );
        assert_eq!(differs.differences[0].expected, format!("…{}b", "a".repeat(CONTEXT)));
    }

    /// A page of the general chat: `shown` are ids, of which 70 and 75 are ours.
    fn chat(query: &str, shown: &[u64], link: &str) -> Verdict {
        let documented = format!(
            "HTTP/1.1 200 OK\nLink: </api/messages?after=1&limit=2&epoch=5eed0000c4a70001>; rel=\"next\"\n\n{MESSAGES}"
        );
        let item = |id: &u64| {
            let (author, text) = match id {
                70 => (40, "zero"),
                75 => (40, "one"),
                _ => (3, "something else"),
            };
            format!(
                "{{\"id\":{id},\"from_user\":{author},\"to_user\":0,\"text\":\"{text}\",\"sent_at\":\"2026-07-02T03:04:05.678Z\"}}"
            )
        };
        let items: Vec<_> = shown.iter().map(item).collect();
        let link = link.replace('$', "limit=2&epoch=00000000000000aa>; rel=");
        let link = link.replace("</", "</api/messages");
        let actual = format!("HTTP/1.1 200 OK\nLink: {link}\n\n[{}]", items.join(","));
        verdict(&format!("/api/messages?limit=2{query}"), &documented, &actual)
    }

    #[test]
    fn others_may_stand_beside_and_before_us() {
        for (query, shown, link, others) in [
            ("", &[70, 75][..], "</?after=75&$\"next\"", 0),
            ("", &[70, 75], "</?before=70&$\"prev\", </?after=75&$\"next\"", 0),
            ("", &[75, 76], "</?before=75&$\"prev\", </?after=76&$\"next\"", 1),
            ("", &[80, 81], "</?before=80&$\"prev\", </?after=81&$\"next\"", 2),
            ("&before=75", &[69, 70], "</?after=70&$\"next\"", 1),
            ("&before=75", &[71, 72], "</?before=71&$\"prev\", </?after=72&$\"next\"", 2),
            ("&after=-1", &[0, 5], "</?after=5&$\"next\"", 2),
            ("&after=5", &[60, 70], "</?before=60&$\"prev\", </?after=70&$\"next\"", 1),
            ("&after=70", &[75], "</?before=75&$\"prev\", </?after=75&$\"next\"", 0),
            ("&after=75", &[], "</?before=76&$\"prev\", </?after=75&$\"next\"", 0),
            ("&after=75", &[80], "</?before=80&$\"prev\", </?after=80&$\"next\"", 1),
        ] {
            let verdict = chat(query, shown, link);
            assert_eq!((whats(&verdict), verdict.others), (vec![], others), "{query} {shown:?}");
        }
    }

    #[test]
    fn what_is_ours_is_not_missing() {
        for (query, shown, link, differs) in [
            ("", &[75][..], "</?before=75&$\"prev\", </?after=75&$\"next\"", "body, id 70"),
            ("", &[70, 76], "</?after=76&$\"next\"", "body, id 75"),
            ("", &[70, 75, 76], "</?after=76&$\"next\"", "body"),
            ("", &[75, 70], "</?after=70&$\"next\"", "body"),
            ("&after=-1", &[0], "</?after=0&$\"next\"", "body, id 70"),
            ("&after=-1", &[70, 75], "</?before=70&$\"prev\", </?after=75&$\"next\"", "Link"),
            ("&after=70", &[70, 75], "</?after=75&$\"next\"", "body"),
            ("&before=75", &[70, 75], "</?after=75&$\"next\"", "body"),
            ("", &[75, 76], "</?after=76&$\"next\"", "Link"),
            ("", &[70, 75], "</?after=76&$\"next\"", "Link"),
            ("", &[70, 75], "</?after=75&$\"newest\"", "Link"),
            ("", &[70, 75], "", "Link"),
        ] {
            let verdict = chat(query, shown, link);
            assert!(whats(&verdict).contains(&differs), "{query} {shown:?}: {verdict:?}");
        }
    }
}
