//! Where in the log things lie: a sled tree that can be thrown away and made again.
//!
//! One tree, so that one batch is atomic; the first byte of a key says what it is:
//!
//! | key | value |
//! |---|---|
//! | `m` | up to which frame the log is indexed, and the digest |
//! | `u` user id | position of the account's record |
//! | `n` folded name | user id |
//! | `b` mailbox, first message id | postings: ids and positions of up to 128 messages |
//! | `p` event | position of its record; of the first in every 16 KiB of log |
//! | `e` feed, first event | postings: what was done, but for posting, that the feed's readers may see |
//! | `d` receiver, author, first message id | postings: the private messages from one to the other |
//! | `l` user, message id | with whom the user has the conversation of which it is the last message |
//! | `r` message id | position of the message's last edit or deletion |
//! | `f` entry key | the value of the entry |
//!
//! Only what the log has synced is ever indexed, so an index that knows more than the log proves
//! that the log has lost something.
//!
//! sled's checksums end where its log is cut: after a flipped bit or a power cut it may open with
//! some entries missing, or as they once were. So `m` also has a digest of all other entries, which
//! an opening compares with what is there, unless a seal says that it is what a clean stop left.

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
