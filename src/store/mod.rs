//! The chat's state: the [`Backend`] trait and the two stores that implement it.
//!
//! * [`MemoryStore`] forgets everything when the process ends.
//! * [`LogStore`] keeps a write-ahead log, which is the truth, and a sled index over it, which
//!   can be rebuilt at any time.
//!
//! Both hold their newest messages in the same in-memory table, so a hot page costs the same on
//! both. Nothing here knows HTTP, tokens or JSON replies.

mod audit;
mod backend;
mod codec;
mod counterparts;
mod dirs;
mod engine;
mod entries;
mod error;
#[doc(hidden)]
pub mod formats;
mod free_space;
mod id_allocator;
mod index;
mod log;
mod log_store;
mod mem_table;
mod memory;
mod progress;
mod record;
mod rules;
mod transfer;
mod versions;

pub use self::audit::Counts;
pub use self::backend::{
    Backend, Conversation, IdempotencyKey, MarkOutcome, NewMessage, NewRevision, NewUser,
    PostOutcome, UNREAD_LOOK, Unread,
};
pub use self::entries::account::{AccountKey, AccountValue};
pub use self::entries::block::{
    AccountBlockKey, ModerationValue, SenderBlockKey, SenderBlockValue,
};
pub use self::entries::keyspaces::Entry;
pub use self::entries::past_store_id::{PastStoreIdKey, PastStoreIdValue};
pub use self::entries::read_mark::{ReadMarkKey, ReadMarkValue};
pub use self::entries::registration::RegistrationKey;
pub use self::entries::retry::{
    FirstAnswer, Hash, KeyedRetryKey, KeyedRetryValue, RetryKey, RetryOrderKey, RetryOrderValue,
};
pub use self::entries::session::{SessionKey, SessionValue, StrayTokensKey, StrayTokensValue};
pub use self::error::{LogDamage, RestoreError, StoreError};
pub use self::id_allocator::{IdAllocator, IdKind};
pub use self::log_store::check::{CheckReport, IndexState, check};
pub use self::log_store::compact::{Compaction, compact};
pub use self::log_store::store::LogStore;
pub use self::memory::MemoryStore;
pub use self::progress::Progress;
pub use self::record::Record;
pub use self::rules::lineage::{Lineage, LostRange, MAX_PAST_STORE_IDS, MIN_JUMP, StoreIdChange};
pub use self::rules::retry::{
    MAX_RETRIES, RETRY_LIFETIME, sent_under_other_secrets, settled_at_start,
};
pub use self::rules::session::for_each_session;
pub use self::transfer::backup::verify;
pub use self::transfer::export::{export, export_as};
pub use self::transfer::import::{Imported, import, restore};
pub use self::transfer::outcome::{ExportOrigin, Purpose, Summary, TransferError};
pub use self::transfer::snapshot::Snapshot;
pub use self::versions::FORMATS;
