//! The rules of the chat's state, written once for every store: what a call may do and which
//! entries it writes.

pub(super) mod account;
pub(super) mod block;
pub(super) mod conversation;
pub(super) mod events;
pub(super) mod lineage;
pub(super) mod moderation;
pub(super) mod restore;
pub(super) mod retry;
pub(super) mod session;
