//! Event streams (`text/event-stream`).
//!
//! | file | purpose |
//! |---|---|
//! | `registry` | the loop's view: owner and position of each stream |
//! | `protocol` | the messages between the loop and the broadcaster |
//! | `broadcaster` | the thread that sends to all subscribers, and the loop's handle on it |
//! | `subscribers` | all subscribers, with their deadlines |
//! | `subscriber` | one subscriber's queue and socket |
//! | `chunk` | encoded bytes that several subscribers share |

pub(super) mod broadcaster;
pub(super) mod chunk;
pub(super) mod protocol;
pub(super) mod registry;
mod subscriber;
mod subscribers;
