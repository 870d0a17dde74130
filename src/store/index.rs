//! The index: the positions of records in the log, in a sled tree that can be deleted and made again.
//!
//! It is one tree, so that one batch is atomic. The first byte of a key is its kind:
//!
//! | key | value |
//! |---|---|
//! | `m` | the last indexed frame, and the digest |
//! | `u` user id | position of the account's record |
//! | `n` folded name | user id |
//! | `b` mailbox, first message id | postings: ids and positions of up to 128 messages |
//! | `p` event | position of its record; of the first in every 16 KiB of log |
//! | `e` feed, first event | postings: events other than posts that the feed's readers may see |
//! | `d` receiver, author, first message id | postings: the private messages from one to the other |
//! | `l` user, message id | the other user of the conversation of which it is the last message |
//! | `r` message id | position of the message's last edit or deletion |
//! | `f` entry key | the value of the entry |
//!
//! Only synced records of the log are indexed, so an index with more records than the log proves
//! that the log has lost some.
//!
//! sled's checksums end where its log is cut: after a flipped bit or a power cut it may open with
//! some entries missing, or as they once were. So `m` also has a digest of all other entries, which
//! an opening compares with the entries, unless a seal shows that a clean stop left the index so.

pub(super) mod audit;
mod conversations;
mod digest;
pub(super) mod entries;
mod handle;
pub(super) mod layout;
pub(super) mod part;
mod postings;
mod revisions;
mod seal;
pub(super) mod tree;
