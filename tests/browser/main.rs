//! The reference page and the pages of the problems, in a real browser: headless Chromium, driven
//! over `WebDriver`.
//!
//! All of it is part of the long run only. Without `chromium` and `chromedriver` nothing is tested,
//! and a notice says so; in CI it is a failure. This command takes the picture in the documentation
//! again:
//!
//! ```sh
//! VECHE_DOCS=rewrite cargo test --test browser picture
//! ```
//! over `WebDriver`.
//!
//! All of it is part of the long run only. Where there is no `chromium` and `chromedriver`, nothing
//! is tested, and that is said; in CI it is a failure. The picture in the documentation is taken anew by
//!
//! ```sh
//! VECHE_DOCS=rewrite cargo test --test browser picture
//! ```
#![cfg(test)]
#![expect(clippy::expect_used, reason = "a test that cannot go on has failed")]

mod browser;
mod driver;
#[path = "../extent/mod.rs"]
mod extent;
mod operations;
mod origins;
mod picture;
mod problems;
mod reference;
mod server;
mod wait;
