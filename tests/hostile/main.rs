//! Hostile clients, against the real binary and through the supported front.
//!
//! A client that can be described in bytes and pauses is a file in `cases/`: a new case is a new
//! file, and a row of `docs/security.md`. Crowds of clients are tests here. During each test a
//! neighbour, an ordinary client, is served; `cargo bench --bench http -- --hostile` measures how
//! fast.
//!
//! ```sh
//! VECHE_DOCS=rewrite cargo test --test hostile table
//! ```
//!
//! updates the table in `docs/security.md` from the cases.
//!
//! What can be said in bytes and pauses is a file in `cases/`: a new case is a new file, and a row
//! of `docs/security.md`. What takes crowds is a test here. While any of it goes on, a neighbour
//! who means no harm is served; how fast, `cargo bench --bench http -- --hostile` measures.
//!
//! ```sh
//! VECHE_DOCS=rewrite cargo test --test hostile table
//! ```
//!
//! brings the table in `docs/security.md` up to date with the cases.

#![cfg(test)]

#[path = "../process/asked.rs"]
mod asked;
mod case;
#[expect(dead_code, reason = "tests/process uses more of it")]
#[path = "../process/client.rs"]
mod client;
#[path = "../contract/mod.rs"]
mod contract;
mod corpus;
mod exhaustion;
#[path = "../process/export.rs"]
mod export;
#[path = "../extent/mod.rs"]
mod extent;
mod front;
mod idle;
mod leaks;
mod levels;
mod limits;
mod line;
mod neighbour;
mod outcome;
mod play;
mod resets;
#[expect(dead_code, reason = "tests/process uses more of it")]
#[path = "../process/server.rs"]
mod server;
mod stage;
mod stalled;
mod starvation;
mod streams;
mod table;
mod talk;
mod tls;
#[path = "../process/turnstile.rs"]
mod turnstile;
#[expect(dead_code, reason = "tests/process uses more of it")]
#[path = "../process/wire.rs"]
mod wire;
