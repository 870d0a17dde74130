//! Replies on their way to clients that may read slowly.
//!
//! | file | purpose |
//! |---|---|
//! | `head` | status line and header section |
//! | `outbox` | sends a reply as far as the socket takes it, and gives the rest to a worker |
//! | `writing` | writes to a connection, and closes it |
//! | `unsent` | limits on the bytes that clients leave unread |

pub(super) mod head;
pub(super) mod outbox;
pub(super) mod unsent;
pub(super) mod writing;
