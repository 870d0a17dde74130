//! Pages of lists: their parameters, and the links to neighbouring pages.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use super::app::App;
use super::contract::{EXPAND_AUTHORS, Expand, Operation, Parameter};
use super::request::Call;
use crate::model::{Cursor, DEFAULT_PAGE_LIMIT, MAX_ID, StoreId, UserId, Window};
use crate::problem::{self, Problem};
use crate::store::{IdKind, LostRange};

/// The query parameters of a request, not yet checked.
#[derive(Debug, Default)]
pub(super) struct Query<'a> {
    values: [Option<Cow<'a, str>>; Parameter::COUNT],
    max_limit: usize,
}

impl<'a> Query<'a> {
    /// Reads the parameters of `query` that an operation knows; others are ignored. 400 for one
    /// that is given twice.
    pub(super) fn parse(query: &'a str, operation: &Operation) -> Result<Query<'a>, Problem> {
        let known = operation.query;
        let mut parsed = Query { max_limit: operation.max_limit, ..Query::default() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(&parameter) = known.iter().find(|known| known.name() == name) else {
                continue;
            };
            if parsed.values[parameter as usize].replace(value).is_some() {
                return Err(Problem::parameter(parameter.name(), "is given twice"));
            }
        }
        Ok(parsed)
    }

    /// The value of a parameter, if it was given.
    pub(super) fn get(&self, parameter: Parameter) -> Option<&str> {
        self.values[parameter as usize].as_deref()
    }

    /// The requested page of a list whose items are numbered by `sequence`. 400 for a parameter out
    /// of range, 410 for a cursor that is lost.
    pub(super) fn window(&self, app: &App, sequence: IdKind) -> Result<Window, Problem> {
        let (window, epoch) = self.page()?;
        app.expect_known(sequence, window.cursor, epoch)?;
        Ok(window)
    }

    /// The requested page, and the epoch of its cursor, which the caller has to check.
    pub(super) fn page(&self) -> Result<(Window, Option<StoreId>), Problem> {
        let limit = match self.get(Parameter::Limit) {
            None => DEFAULT_PAGE_LIMIT,
            Some(limit) => number(limit)
                .and_then(|limit| usize::try_from(limit).ok())
                .filter(|limit| (1..=self.max_limit).contains(limit))
                .ok_or_else(|| {
                    let why = format!("must be a number from 1 to {}", self.max_limit);
                    Problem::parameter(Parameter::Limit.name(), &why)
                })?,
        };
        let cursor = match (self.get(Parameter::Before), self.get(Parameter::After)) {
            (None, None) => Cursor::Newest,
            (Some(before), None) => number(before)
                .map(Cursor::Before)
                .ok_or_else(|| Problem::parameter("before", "must be an id, 0 or above"))?,
            (None, Some("-1")) => Cursor::From(0),
            (None, Some(after)) => {
                number(after).map(|id| Cursor::From(id + 1)).ok_or_else(|| {
                    Problem::parameter("after", "must be an id, or -1 for the beginning")
                })?
            }
            (Some(_), Some(_)) => {
                return Err(Problem::parameter("after", "must not be given together with before"));
            }
        };
        let epoch = self.get(Parameter::Epoch).map(|epoch| {
            StoreId::parse(epoch)
                .ok_or_else(|| Problem::parameter("epoch", "must be 16 hexadecimal digits"))
        });
        Ok((Window { cursor, limit }, epoch.transpose()?))
    }

    /// The expansion of the items. 400 for an unknown value, so that the client does not miss it
    /// silently.
    pub(super) fn expand(&self) -> Result<Expand, Problem> {
        match self.get(Parameter::Expand) {
            None => Ok(Expand::Nothing),
            Some(EXPAND_AUTHORS) => Ok(Expand::Authors),
            Some(_) => Err(Problem::parameter(Parameter::Expand.name(), "must be from_user")),
        }
    }

    /// The other user of the requested conversation, if there is one.
    pub(super) fn with(&self) -> Result<Option<UserId>, Problem> {
        let Some(with) = self.get(Parameter::With) else { return Ok(None) };
        let user = number(with).and_then(UserId::new);
        user.map(Some).ok_or_else(|| Problem::parameter("with", "must be the id of a user"))
    }
}

impl<'a, Caller, Session> Call<'a, Caller, Session> {
    /// The query parameters that the operation knows. 400 for one that is given twice.
    pub(super) fn query(&self) -> Result<Query<'a>, Problem> {
        Query::parse(self.request.query, self.operation)
    }
}

impl App {
    /// 410 for a cursor that is lost.
    pub(super) fn expect_known(
        &self,
        sequence: IdKind,
        cursor: Cursor,
        epoch: Option<StoreId>,
    ) -> Result<(), Problem> {
        let (current, next) = (self.store.store_id(), self.store.next_ids());
        let judged = self.lineage.judge((sequence, cursor), epoch, current, next);
        judged.map_err(|lost| Problem::new(problem::CURSOR_LOST, reason(lost)))
    }
}

/// The reason for which a cursor is lost, in words for the client.
fn reason(lost: LostRange) -> &'static str {
    match lost {
        LostRange::OtherStore => "the cursor is from another store: this store is new",
        LostRange::Undone => {
            "the cursor is from a time that was lost when this store was restored from a backup"
        }
        LostRange::Ahead => "the cursor is above all ids that were ever assigned",
    }
}

/// Reads an id in a path or a query: digits without a sign or leading zeros, so that each resource
/// has one address.
pub(super) fn number(text: &str) -> Option<u64> {
    let canonical =
        text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if !canonical {
        return None;
    }
    text.parse().ok().filter(|number| *number <= MAX_ID)
}

/// The parts that all links of a page share.
pub(super) struct Links<'a> {
    /// The list's own path.
    pub(super) path: &'a str,
    /// The other user, where the list is a conversation.
    pub(super) with: Option<UserId>,
    /// The expansion of its items.
    pub(super) expand: Expand,
    pub(super) window: Window,
    pub(super) epoch: StoreId,
}

impl<'a> Links<'a> {
    /// The links of a list without further parameters.
    pub(super) fn new(path: &'a str, window: Window, epoch: StoreId) -> Links<'a> {
        Links { path, with: None, expand: Expand::Nothing, window, epoch }
    }

    /// The `Link` field (RFC 8288) of a page with the `ids` from first to last. It has `prev` if
    /// there are older items, and always `next`, so that a client can come back for new items.
    pub(super) fn field(&self, ids: Option<(u64, u64)>, older: bool) -> String {
        let mut field = String::with_capacity(192);
        let start = self.window.start(ids.map(|(first, _)| first));
        if older {
            // There is no id above the highest to end below. The newest page holds the same.
            if start > MAX_ID {
                self.push(&mut field, format_args!(""), "prev");
            } else {
                self.push(&mut field, format_args!("before={start}&"), "prev");
            }
            field.push_str(", ");
        }
        let last = match (ids, self.window.cursor) {
            (Some((_, last)), _) => Some(last),
            // If there is nothing below an id, the next page is the first.
            (None, Cursor::Newest | Cursor::Before(_)) => None,
            (None, Cursor::From(id)) => id.checked_sub(1),
        };
        match last {
            Some(last) => self.push(&mut field, format_args!("after={last}&"), "next"),
            None => self.push(&mut field, format_args!("after=-1&"), "next"),
        }
        field
    }

    /// The `Link` field of a list that runs from the newest to the oldest item, of which `last` is
    /// the last on the page: `next` leads to older items.
    pub(super) fn to_older(&self, last: u64) -> String {
        let mut field = String::new();
        self.push(&mut field, format_args!("before={last}&"), "next");
        field
    }

    fn push(&self, field: &mut String, cursor: fmt::Arguments<'_>, rel: &str) {
        let Links { path, with, expand, window, epoch } = self;
        let _ = write!(field, "<{path}?{cursor}limit={}", window.limit);
        if let Some(with) = with {
            let _ = write!(field, "&with={with}");
        }
        if *expand == Expand::Authors {
            let _ = write!(field, "&{}={EXPAND_AUTHORS}", Parameter::Expand.name());
        }
        let _ = write!(field, "&epoch={epoch}>; rel=\"{rel}\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(cursor: Cursor, ids: Option<(u64, u64)>) -> String {
        let window = Window { cursor, limit: 2 };
        Links::new("/list", window, StoreId(1)).field(ids, true)
    }

    fn pair(prev: &str, next: &str) -> String {
        let common = "limit=2&epoch=0000000000000001";
        format!("</list?{prev}{common}>; rel=\"prev\", </list?{next}{common}>; rel=\"next\"")
    }

    #[test]
    fn links_lead_to_both_neighbours() {
        assert_eq!(links(Cursor::Newest, Some((5, 6))), pair("before=5&", "after=6&"));
        assert_eq!(links(Cursor::From(9), None), pair("before=9&", "after=8&"));
    }

    /// `before` excludes, and there is no id above the highest that could be given.
    #[test]
    fn what_lies_below_the_end_of_all_ids_has_the_highest() {
        let next = format!("after={MAX_ID}&");
        assert_eq!(links(Cursor::From(MAX_ID + 1), None), pair("", &next));
    }
}
