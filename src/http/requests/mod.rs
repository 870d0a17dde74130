//! Requests from their arrival until their replies are sent.
//!
//! | file | purpose |
//! |---|---|
//! | `exchange` | one request, and the facts about its connection that its reply needs |
//! | `in_flight` | one request in flight per connection |
//! | `body` | reading bodies of clients that may send slowly |
//! | `parking` | long polls: requests that wait for a message |
//! | `request_id` | `X-Request-Id` |

pub(super) mod body;
pub(super) mod exchange;
pub(super) mod in_flight;
pub(super) mod parking;
pub(super) mod request_id;
