//! `--against`: compares this build with an earlier one, on every path that the bench knows.
//!
//! Both serve at the same time, each over stores of its own, and take turns under the load. So the
//! ratio of each round is of runs that followed one another.

use std::fs;
use std::path::{Path, PathBuf};

use crate::build::{Build, Servers};
use crate::client::while_logging_in;
use crate::comparison::{Comparison, Measure};
use crate::pair::Pair;
use crate::rounds::{Case, run};
use crate::subject::{Store, Subject, built_now};
use crate::wrk::{Load, Sample, Wrk};
use crate::{Plan, Result, SHORT, control, machine};

/// Start-ups take little time beside the loads, so there are more rounds of them.
const STARTS_A_ROUND: usize = 4;

/// Compares this build with the veche at `earlier`, and prints the result.
pub(crate) fn compare(earlier: &Path, plan: &Plan) -> Result<()> {
    let programs = Pair { now: fs::canonicalize(built_now())?, then: canonical(earlier)? };
    if programs.now == programs.then {
        return Err(format!(
            "{} is what was built just now; keep a copy of the earlier build elsewhere",
            earlier.display()
        )
        .into());
    }
    let same = fs::read(&programs.now)? == fs::read(&programs.then)?;

    // In the build directory, which is on a disk: /tmp may be memory, where a sync costs nothing.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let wrk = Wrk::new(dir.path(), plan.seconds)?;
    let machine = machine::describe(dir.path())?;
    let mut comparison = Comparison::default();

    eprintln!("filling the stores");
    let builds = Pair {
        now: Build::new(&programs.now, &dir.path().join("now"))?,
        then: Build::new(&programs.then, &dir.path().join("then"))?,
    };
    let servers = builds.try_map(|build| build.serve(plan.long))?;
    control::notices_one_unserved_connection(dir.path(), &servers.now.memory.tokens.file)?;

    compare_loads(&mut comparison, &wrk, plan, &servers)?;
    comparison.add(
        "memory: each message of 40 bytes",
        Measure::PerMessage,
        &[servers.map(|servers| memory_per_message(servers, plan))],
    );
    let Pair { now, then } = servers;
    now.stop()?;
    then.stop()?;

    eprintln!("starting");
    compare_starts(&mut comparison, plan, &builds)?;
    comparison.add("the binary", Measure::FileSize, &[builds.map(|build| float(build.size))]);

    println!("\n{machine}\n\nthen: {}", programs.then.display());
    if same {
        println!("The two are the same to the byte: what differs is the machine's doing.");
    }
    println!("\n{comparison}");
    println!(
        "{} messages in a long history, {SHORT} in a short one; runs of {} s, {} rounds of two for each build, interleaved; {} rounds of start-ups",
        plan.long,
        plan.seconds,
        plan.rounds,
        plan.rounds * STARTS_A_ROUND
    );
    Ok(())
}

/// The absolute path, since a name without a slash would be looked up on the PATH.
fn canonical(program: &Path) -> Result<PathBuf> {
    fs::canonicalize(program)
        .map_err(|error| format!("no binary at {}: {error}", program.display()).into())
}

/// One load on the same server of both builds.
struct Duel<'a> {
    path: &'static str,
    subjects: Pair<&'a Subject>,
    load: &'a Load,
    /// True if other clients log in all the time.
    logins: bool,
}

fn compare_loads(
    comparison: &mut Comparison,
    wrk: &Wrk,
    plan: &Plan,
    servers: &Pair<Servers>,
) -> Result<()> {
    let memory = servers.map(|servers| &servers.memory);
    let sled = servers.map(|servers| &servers.sled);
    let memory_long = servers.map(|servers| &servers.memory_long);
    let sled_long = servers.map(|servers| &servers.sled_long);
    let newest = &Load::NEWEST;
    let middle = &Load::middle_of(plan.long);
    let beginning = &Load::beginning_of(plan.long);
    let post = &Load::post();

    let duel = |path, subjects, load| Duel { path, subjects, load, logins: false };
    let duels = [
        duel("memory GET", memory, newest),
        duel("sled GET", sled, newest),
        duel("memory GET, long history", memory_long, newest),
        duel("memory GET, its middle", memory_long, middle),
        duel("memory GET, its beginning", memory_long, beginning),
        duel("sled GET, long history", sled_long, newest),
        duel("sled GET, its middle", sled_long, middle),
        duel("sled GET, its beginning", sled_long, beginning),
        Duel { logins: true, ..duel("memory GET during logins", memory, newest) },
        // These make the histories longer, of both builds alike.
        duel("memory POST", memory, post),
        duel("sled POST", sled, post),
    ];
    for duel in &duels {
        duel.subjects.try_map(|subject| subject.rehearse(duel.load))?;
    }

    let mut rounds = duels.each_ref().map(|_| Vec::new());
    for round in 1..=plan.rounds {
        eprintln!("round {round} of {}", plan.rounds);
        for (duel, rounds) in duels.iter().zip(&mut rounds) {
            rounds.push(duel.fight(wrk, round)?);
        }
    }

    for (duel, rounds) in duels.iter().zip(&rounds) {
        add_all(comparison, duel.path, rounds, &FIGURES);
    }
    Ok(())
}

/// The figures of each run that are compared.
const FIGURES: [Figure<Sample>; 3] = [
    (Measure::Throughput, |sample| sample.throughput),
    (Measure::P50, |sample| sample.p50),
    (Measure::P99, |sample| sample.p99),
];

/// A figure of a run, or of another measurement.
type Figure<T> = (Measure, fn(&T) -> f64);

/// Adds each of `figures`, which were measured for both builds twice a round.
fn add_all<T>(
    comparison: &mut Comparison,
    path: &'static str,
    rounds: &[Pair<[T; 2]>],
    figures: &[Figure<T>],
) {
    for &(measure, figure) in figures {
        let rounds: Vec<_> = rounds.iter().map(|round| mean(round, figure)).collect();
        comparison.add(path, measure, &rounds);
    }
}

fn mean<T>(round: &Pair<[T; 2]>, figure: impl Fn(&T) -> f64) -> Pair<f64> {
    round.map(|[one, other]| f64::midpoint(figure(one), figure(other)))
}

impl Duel<'_> {
    fn fight(&self, wrk: &Wrk, round: usize) -> Result<Pair<[Sample; 2]>> {
        let samples = self.subjects.interleave(round, |subject| self.run(wrk, subject))?;
        let Pair { now, then } = mean(&samples, |sample| sample.throughput);
        eprintln!(
            "  {:<32} now {now:>8.0}/s   then {then:>8.0}/s   {:>6.3}",
            self.path,
            now / then
        );
        Ok(samples)
    }

    fn run(&self, wrk: &Wrk, subject: &Subject) -> Result<Sample> {
        let case = Case { label: self.path, subject, load: self.load };
        if !self.logins {
            return run(wrk, &case);
        }
        match while_logging_in(subject.server.address, || run(wrk, &case))? {
            (_, 0) => Err("no login was answered while the others were served".into()),
            (sample, _) => Ok(sample),
        }
    }
}

/// The memory that a message adds to a server, from one history to the other.
fn memory_per_message(servers: &Servers, plan: &Plan) -> f64 {
    let larger = servers.memory_long.resident.saturating_sub(servers.memory.resident);
    float(larger) / float(plan.long - SHORT)
}

/// The time from its start until a server prints its address, and its resident memory then.
fn compare_starts(comparison: &mut Comparison, plan: &Plan, builds: &Pair<Build>) -> Result<()> {
    let empty = builds.map(|build| &build.sled_empty);
    let long = builds.map(|build| &build.sled_long);
    for (path, stores) in [("sled, empty", empty), ("sled, long history", long)] {
        let rounds = (1..=plan.rounds * STARTS_A_ROUND)
            .map(|round| stores.interleave(round, |store| Start::of(store)))
            .collect::<Result<Vec<_>>>()?;
        add_all(comparison, path, &rounds, &START_FIGURES);
    }
    Ok(())
}

/// The figures of each start-up that are compared.
const START_FIGURES: [Figure<Start>; 2] =
    [(Measure::StartUp, |start| start.millis), (Measure::Resident, |start| start.resident)];

/// The figures of one start-up.
struct Start {
    millis: f64,
    /// In MB.
    resident: f64,
}

impl Start {
    /// Starts a server over `store` and stops it.
    fn of(store: &Store) -> Result<Start> {
        let server = store.open()?;
        let start = Start {
            millis: server.opened_in.as_secs_f64() * 1e3,
            resident: float(server.resident()?) / 1e6,
        };
        server.stop()?;
        Ok(start)
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes and counts are far below 2^53")]
fn float(number: u64) -> f64 {
    number as f64
}
