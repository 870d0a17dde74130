//! `cargo bench --bench http -- --logins`: tests whether the time in which a login is refused tells
//! an account that exists from one that does not.
//!
//! A wrong password of a user and a password of an unknown user are tried in pairs in random order,
//! so that other load on the machine affects both. It is a failure if the medians differ by more
//! than [`TOLERANCE`].

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use veche::sys::{SeededEntropy, random};

use crate::Result;
use crate::client::Client;
use crate::machine;
use crate::subject::{Kind, Store, built_now};

/// The permitted relative difference of the medians.
const TOLERANCE: f64 = 0.03;
/// Attempts of each kind before the measured ones.
const WARM_UP: usize = 20;
/// Names of the same length.
const SOMEBODY: &str = "somebody";
const NOBODY: &str = "no-body-";

/// Tries each kind equally often.
pub(crate) fn compare(tries: usize) -> Result<()> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    println!("{}", machine::describe(dir.path())?);
    for (kind, name) in [(Kind::Memory, "memory"), (Kind::Sled, "sled")] {
        let (known, unknown) = measure(kind, &dir.path().join(name), tries)?;
        let ratio = unknown.as_secs_f64() / known.as_secs_f64();
        println!(
            "{name}: medians of {tries}: wrong password {known:.3?}, unknown user {unknown:.3?}, \
             ratio {ratio:.4}"
        );
        if (ratio - 1.0).abs() > TOLERANCE {
            return Err(format!("on {name} the two can be told apart by their time").into());
        }
    }
    Ok(())
}

/// The medians for a wrong password and for an unknown user.
fn measure(kind: Kind, dir: &Path, tries: usize) -> Result<(Duration, Duration)> {
    let store = Store::empty(built_now().into(), kind, dir.to_owned())?;
    let server = store.open_with(&["--login-limit", "off"])?;
    let client = Client::new(server.address);
    client.register(SOMEBODY)?;
    let mut order = SeededEntropy(1);
    let mut times = [const { Vec::new() }; 2];
    for n in 0..WARM_UP + tries {
        let [coin] = random(&mut order);
        let first = usize::from(coin % 2);
        for which in [first, 1 - first] {
            let time = refused(&client, [SOMEBODY, NOBODY][which])?;
            if n >= WARM_UP {
                times[which].push(time);
            }
        }
        if n % 500 == 0 {
            eprintln!("  {n} of {tries}");
        }
    }
    server.stop()?;
    let [known, unknown] = times.map(median);
    Ok((known, unknown))
}

/// The duration of a refused login.
fn refused(client: &Client, name: &str) -> Result<Duration> {
    let body = json!({ "username": name, "password": "battery staple" }).to_string();
    let begun = Instant::now();
    client.post("/login", None, &body, 401)?;
    Ok(begun.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
