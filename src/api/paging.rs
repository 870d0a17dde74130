//! Pages of lists: the parameters that ask for one, and the links to its neighbours.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use super::app::App;
use super::contract::{EXPAND_AUTHORS, Expand, Operation, Parameter};
use super::request::Call;
use crate::model::{Cursor, DEFAULT_PAGE_LIMIT, MAX_ID, StoreId, UserId, Window};
use crate::problem::{self, Problem};
use crate::store::{IdKind, LostRange};

/// The query parameters of a request, undecided whether they make sense.
#[derive(Debug, Default)]
pub(super) struct Query<'a> {
    values: [Option<Cow<'a, str>>; Parameter::COUNT],
    max_limit: usize,
}

impl<'a> Query<'a> {
    /// Those of `query` that an operation knows; others are ignored. 400 for one that is given
    /// twice.
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

    /// The page that is asked for of a list whose items are numbered by `sequence`. 400 for what is
    /// out of range, 410 for a cursor that leads nowhere.
    pub(super) fn window(&self, app: &App, sequence: IdKind) -> Result<Window, Problem> {
        let (window, epoch) = self.page()?;
        app.expect_known(sequence, window.cursor, epoch)?;
        Ok(window)
    }

    /// The page that is asked for, and the epoch that its cursor says it is of: for who judges it
    /// by itself.
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

    /// What the items are to be expanded with. 400 for an unknown value: the client would miss it.
    pub(super) fn expand(&self) -> Result<Expand, Problem> {
        match self.get(Parameter::Expand) {
            None => Ok(Expand::Nothing),
            Some(EXPAND_AUTHORS) => Ok(Expand::Authors),
            Some(_) => Err(Problem::parameter(Parameter::Expand.name(), "must be from_user")),
        }
    }

    /// The other user of a conversation, if one is asked for.
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
    /// Refuses a cursor that leads nowhere: 410.
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

/// Why a cursor leads nowhere, in words for the client.
fn reason(lost: LostRange) -> &'static str {
    match lost {
        LostRange::OtherStore => "the cursor is of another store: this one was begun anew",
        LostRange::Undone => {
            "the cursor is of a time that was lost: this store was restored from an earlier backup"
        }
        LostRange::Ahead => "the cursor is above every id that was ever given out",
    }
}

/// An id as it is written in paths and queries: digits, without a sign or leading zeros, so that
/// no two ways of writing mean the same resource.
pub(super) fn number(text: &str) -> Option<u64> {
    let canonical =
        text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if !canonical {
        return None;
    }
    text.parse().ok().filter(|number| *number <= MAX_ID)
}

/// What the links of a page have in common.
pub(super) struct Links<'a> {
    /// The list's own path.
    pub(super) path: &'a str,
    /// The other user, where the list is a conversation.
    pub(super) with: Option<UserId>,
    /// Whether its items have the names of their authors.
    pub(super) expand: Expand,
    pub(super) window: Window,
    pub(super) epoch: StoreId,
}

impl<'a> Links<'a> {
    /// Those of a list that is what its path says.
    pub(super) fn new(path: &'a str, window: Window, epoch: StoreId) -> Links<'a> {
        Links { path, with: None, expand: Expand::Nothing, window, epoch }
    }

    /// The `Link` field (RFC 8288) of a page that holds the `ids` from first to last: `prev` if
    /// there is something older, `next` always, so that a client can come back for what is new.
    pub(super) fn field(&self, ids: Option<(u64, u64)>, older: bool) -> String {
        let mut field = String::with_capacity(192);
        let start = self.window.start(ids.map(|(first, _)| first));
        if older {
            // Behind the highest id there is no other to end below: the newest page is all of it.
            if start > MAX_ID {
                self.push(&mut field, format_args!(""), "prev");
            } else {
                self.push(&mut field, format_args!("before={start}&"), "prev");
            }
            field.push_str(", ");
        }
        let last = match (ids, self.window.cursor) {
            (Some((_, last)), _) => Some(last),
            // Where nothing lies below an id, what is next is what comes first.
            (None, Cursor::Newest | Cursor::Before(_)) => None,
            (None, Cursor::From(id)) => id.checked_sub(1),
        };
        match last {
            Some(last) => self.push(&mut field, format_args!("after={last}&"), "next"),
            None => self.push(&mut field, format_args!("after=-1&"), "next"),
        }
        field
    }

    /// The `Link` field of a page that runs the other way and ends with `last`, from the newest to
    /// the oldest: there `next` leads to what is older.
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
