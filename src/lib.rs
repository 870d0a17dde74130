//! veche, a REST chat server.
pub mod model;
pub mod store;
pub mod sys;
