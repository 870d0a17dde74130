//! Merges several lists of events into one.

use crate::model::{Cursor, Event, Page, Window};

/// A page of several lists, given the page of each for this window.
pub(in crate::store) fn merged<'a>(
    parts: impl IntoIterator<Item = Page<Event<'a>>>,
    window: Window,
) -> Page<Event<'a>> {
    let (mut items, mut older) = (Vec::new(), false);
    for part in parts {
        items.extend(part.items);
        older |= part.older;
    }
    items.sort_unstable_by_key(|event| event.id);
    let surplus = items.len().saturating_sub(window.limit);
    match window.cursor {
        Cursor::From(_) => items.truncate(window.limit),
        Cursor::Newest | Cursor::Before(_) => {
            items.drain(..surplus);
            older |= surplus > 0;
        }
    }
    Page { items, older }
}
