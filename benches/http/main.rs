//! `cargo bench --bench http`: measures veche, beside a bare `tiny_http` server in the same run.
//!
//! Every figure with a target is a ratio of two runs that followed one another, or a time or size;
//! docs/performance.md explains them. A missed target is no failure, because the machine may be the
//! reason; a connection that was not served or an answer that was an error is one.
//!
//! `cargo bench --bench http -- --against PATH` compares with an earlier build of veche instead.
//!
//! `cargo bench --bench http -- --logins` tests whether the time in which a login is refused tells
//! unknown users from others, and fails if so.
//!
//! `cargo bench --bench http -- --hostile` measures how much longer a client waits beside hostile
//! ones.
//!
//! `cargo bench --bench http -- --parked` measures long polls and streams only, and `cargo bench
//! --bench http -- --sessions` the cost of many sessions.
//!
//! `cargo bench --bench http -- --quick` is a short version for changes to the bench itself.

mod against;
mod bare;
mod build;
mod client;
mod comparison;
mod control;
mod guesses;
mod hostile;
mod loads;
mod machine;
mod opening;
mod pair;
mod parked;
mod poster;
mod process;
mod report;
mod rounds;
mod sessions;
mod sockets;
mod subject;
mod wrk;

use std::env;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use crate::report::{Report, Spread, Target};
use crate::subject::{Stores, Subjects};
use crate::wrk::Wrk;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Messages in the stores that the plain GET and POST figures are of.
const SHORT: u64 = 1_000;
/// Refused logins, of each kind and on each store.
const GUESSES: usize = 5_000;
const QUICK_GUESSES: usize = 200;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [bare::ARGUMENT, ..] => bare::serve(&arguments[1..]),
        ["--bench"] => bench(&Plan::FULL),
        ["--quick", "--bench"] => bench(&Plan::QUICK),
        ["--against", earlier, "--bench"] => against::compare(earlier.as_ref(), &Plan::AGAINST),
        ["--against", earlier, "--quick", "--bench"]
        | ["--quick", "--against", earlier, "--bench"] => {
            against::compare(earlier.as_ref(), &Plan::AGAINST_QUICK)
        }
        ["--logins", "--bench"] => guesses::compare(GUESSES),
        ["--logins", "--quick", "--bench"] | ["--quick", "--logins", "--bench"] => {
            guesses::compare(QUICK_GUESSES)
        }
        ["--parked", "--bench"] => only(&Plan::FULL, parked::measure),
        ["--parked", "--quick", "--bench"] | ["--quick", "--parked", "--bench"] => {
            only(&Plan::QUICK, parked::measure)
        }
        ["--hostile", "--bench"] => only(&Plan::FULL, hostile::measure),
        ["--hostile", "--quick", "--bench"] | ["--quick", "--hostile", "--bench"] => {
            only(&Plan::QUICK, hostile::measure)
        }
        ["--sessions", "--bench"] => only(&Plan::FULL, sessions::measure),
        ["--sessions", "--quick", "--bench"] | ["--quick", "--sessions", "--bench"] => {
            only(&Plan::QUICK, sessions::measure)
        }
        // `cargo test --benches` must not put minutes of load on a debug build.
        [] => Ok(()),
        _ => Err(
            "the arguments are --quick, --logins, --hostile, --parked, --sessions and --against \
                 PATH"
                .into(),
        ),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The extent of a run.
struct Plan {
    rounds: usize,
    /// The duration of each run.
    seconds: u64,
    /// Messages in the stores that hold a long history.
    long: u64,
}

impl Plan {
    const FULL: Plan = Plan { rounds: 5, seconds: 3, long: 1_000_000 };
    const QUICK: Plan = Plan { rounds: 1, seconds: 1, long: 50_000 };
    /// An even number of rounds, since the order changes from one to the next.
    const AGAINST: Plan = Plan { rounds: 6, seconds: 2, long: 1_000_000 };
    const AGAINST_QUICK: Plan = Plan { rounds: 1, seconds: 1, long: 20_000 };
}

fn bench(plan: &Plan) -> Result<()> {
    // In the build directory, which is on a disk: /tmp may be memory, where a sync costs nothing.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let wrk = Wrk::new(dir.path(), plan.seconds)?;
    let machine = machine::describe(dir.path())?;
    let mut report = Report::default();

    eprintln!("filling the stores");
    let stores = Stores::fill(dir.path(), SHORT, plan.long)?;
    let subjects = stores.serve()?;
    control::notices_one_unserved_connection(dir.path(), &subjects.memory.tokens.file)?;

    memory_per_message(&mut report, &subjects, plan);
    loads::pages(&mut report, &wrk, plan, &subjects)?;
    loads::logins(&mut report, &wrk, plan, &subjects.memory)?;
    loads::posts(&mut report, &wrk, plan, &subjects)?;
    loads::retries(&mut report, &wrk, plan, &subjects)?;
    subjects.stop()?;

    parked::measure(&mut report, dir.path(), plan.rounds)?;

    eprintln!("opening");
    opening::measure(&mut report, &stores.sled_long, plan.rounds)?;
    sessions::measure(&mut report, dir.path(), plan.rounds)?;

    println!("\n{machine}\n\n{report}");
    println!(
        "{} messages in a long history, {SHORT} in a short one; runs of {} s, {} of each, interleaved",
        plan.long, plan.seconds, plan.rounds
    );
    Ok(())
}

/// Runs one part of the bench.
fn only(plan: &Plan, measure: fn(&mut Report, &Path, usize) -> Result<()>) -> Result<()> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let machine = machine::describe(dir.path())?;
    let mut report = Report::default();
    measure(&mut report, dir.path(), plan.rounds)?;
    println!("\n{machine}\n\n{report}\n{} rounds of each", plan.rounds);
    Ok(())
}

/// The memory that a message adds to a server, from one history to the other.
fn memory_per_message(report: &mut Report, subjects: &Subjects, plan: &Plan) {
    let larger = subjects.memory_long.resident.saturating_sub(subjects.memory.resident);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let bytes = Spread::of([larger as f64 / (plan.long - SHORT) as f64]);
    let measure = "memory: resident for each message of 40 bytes";
    report.measure(measure, Target::AtMost(250.0), " bytes", bytes);
}
