//! Pages of lists.

/// Items on a page when the client does not say.
pub const DEFAULT_PAGE_LIMIT: usize = 100;
/// Most items on a page.
pub const MAX_PAGE_LIMIT: usize = 1000;

/// The position of a page in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// The newest page.
    Newest,
    /// The page that ends just below this id.
    Before(u64),
    /// The oldest page that starts at this id or above.
    From(u64),
}

/// A request for a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The position.
    pub cursor: Cursor,
    /// The most items, 1 to [`MAX_PAGE_LIMIT`].
    pub limit: usize,
}

impl Window {
    /// The lowest id on the page or, for an empty page, the lowest id it could have held. Items
    /// below it are older.
    #[must_use]
    pub fn start(self, first: Option<u64>) -> u64 {
        first.unwrap_or(match self.cursor {
            Cursor::Newest => u64::MAX,
            Cursor::Before(id) | Cursor::From(id) => id,
        })
    }
}

/// A page of a list: items in ascending order of id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, at most as many as the window's limit.
    pub items: Vec<T>,
    /// `true` if the list has items below the page.
    pub older: bool,
}

impl<T> Page<T> {
    /// The page of an empty list.
    #[must_use]
    pub const fn empty() -> Page<T> {
        Page { items: Vec::new(), older: false }
    }
}
