//! Pages of shared lists, which hold items of other users.

use std::collections::BTreeSet;

use serde_json::Value;

use super::catalogue::Catalogue;
use super::response::ParsedResponse;
use super::verdict::ExampleVerdict;
use crate::docs::translate::{Kind, Translation};
use crate::model::{Cursor, DEFAULT_PAGE_LIMIT, Window};

/// A request for a page of a shared list.
pub(super) struct SharedClaims<'a> {
    kind: Kind,
    path: &'a str,
    window: Window,
}

impl<'a> SharedClaims<'a> {
    pub(super) fn of(
        method: &str,
        target: &'a str,
        documented: &ParsedResponse<'_>,
    ) -> Option<SharedClaims<'a>> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let kind = match path {
            "/api/users" => Kind::User,
            "/api/messages" => Kind::Message,
            _ => return None,
        };
        if !matches!(method, "GET" | "HEAD") || documented.code() != "200" {
            return None;
        }
        let mut window = Window { cursor: Cursor::Newest, limit: DEFAULT_PAGE_LIMIT };
        for (name, value) in query.split('&').filter_map(|parameter| parameter.split_once('=')) {
            match name {
                // One account or none, so that no other user's can be on the page.
                "username" => return None,
                "limit" => window.limit = value.parse().ok()?,
                "before" => window.cursor = Cursor::Before(value.parse().ok()?),
                "after" if value == "-1" => window.cursor = Cursor::From(0),
                "after" => window.cursor = Cursor::From(value.parse::<u64>().ok()?.checked_add(1)?),
                _ => {}
            }
        }
        Some(SharedClaims { kind, path, window })
    }

    fn holds(&self, id: u64) -> bool {
        match self.window.cursor {
            Cursor::Newest => true,
            Cursor::Before(end) => id < end,
            Cursor::From(start) => id >= start,
        }
    }
}

/// The comparison of such a page.
pub(super) struct Comparison<'a> {
    pub(super) shared: SharedClaims<'a>,
    pub(super) translation: &'a Translation,
    pub(super) catalogue: &'a Catalogue,
    pub(super) documented: &'a ParsedResponse<'a>,
}

impl Comparison<'_> {
    pub(super) fn compare(
        &self,
        has_body: bool,
        actual: &ParsedResponse<'_>,
        verdict: &mut ExampleVerdict,
    ) {
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

    /// Checks that the items are of the page that was requested, those of other users too.
    fn compare_window(&self, ids: &[u64], verdict: &mut ExampleVerdict) {
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

    fn compare_item(&self, item: &Value, id: u64, is_ours: bool, verdict: &mut ExampleVerdict) {
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

    /// Checks that the items of this run are present: all that were requested, unless the page is
    /// full before them.
    fn compare_presence(&self, ours: &BTreeSet<u64>, ids: &[u64], verdict: &mut ExampleVerdict) {
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
        verdict: &mut ExampleVerdict,
    ) {
        let first = ids.first().copied();
        let start = self.shared.window.start(first);
        let last = ids.last().copied().or(match self.shared.window.cursor {
            Cursor::Newest => None,
            Cursor::Before(id) | Cursor::From(id) => id.checked_sub(1),
        });
        let (with, without) = (self.links(Some(start), last), self.links(None, last));
        // There may be items of others on the page before.
        let must = ours.iter().any(|id| *id < start);
        let may = start > 0 && !(self.shared.window.cursor == Cursor::From(0));
        if !(actual == with && may || actual == without && !must) {
            let had_prev = actual.contains("rel=\"prev\"");
            let expected = if must || (may && had_prev) { with } else { without };
            verdict.add("Link", &expected, actual);
        }
    }

    /// Checks the links of a page whose items are not shown.
    fn compare_links_alone(
        &self,
        ours: &BTreeSet<u64>,
        actual: &str,
        verdict: &mut ExampleVerdict,
    ) {
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

    /// The expected `Link` of a page, with the deployment's epoch.
    fn links(&self, before: Option<u64>, after: Option<u64>) -> String {
        let documented = self.documented.field("Link").unwrap_or_default();
        let translated = self.translation.links(documented);
        let epoch = translated.split_once("&epoch=").map_or("", |(_, it)| it);
        let epoch = epoch.split('>').next().unwrap_or_default();
        let SharedClaims { path, window, .. } = &self.shared;
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
