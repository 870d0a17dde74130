//! Threads for work that blocks or takes long.
//!
//! | file | purpose |
//! |---|---|
//! | `pool` | a bounded pool of threads with a bounded queue |
//! | `hashers` | the pool that hashes passwords |
//! | `fair_queue` | a queue whose places clients share evenly |

mod fair_queue;
pub(super) mod hashers;
pub(super) mod pool;
