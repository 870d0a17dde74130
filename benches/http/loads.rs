//! The measurements by wrk: throughput and latency.

use crate::client::{LOGIN_THREADS, while_logging_in};
use crate::report::{Report, Target};
use crate::rounds::{Case, Series, interleave, run};
use crate::subject::{Subject, Subjects};
use crate::wrk::{Keys, Load, Wrk};
use crate::{Plan, Result};

/// The newest page compared with bare, and pages of a long history compared with the newest.
pub(crate) fn pages(
    report: &mut Report,
    wrk: &Wrk,
    plan: &Plan,
    subjects: &Subjects,
) -> Result<()> {
    let Subjects { bare, memory, sled, memory_long, sled_long } = subjects;
    let newest = &Load::NEWEST;
    let middle = &Load::middle_of(plan.long);
    let beginning = &Load::beginning_of(plan.long);
    for subject in [memory_long, sled_long] {
        for load in [newest, middle, beginning] {
            subject.rehearse(load)?;
        }
    }

    let case = |label, subject, load| Case { label, subject, load };
    let series = interleave(
        wrk,
        plan.rounds,
        &[
            case("bare GET", bare, newest),
            case("memory GET", memory, newest),
            case("sled GET", sled, newest),
            case("memory GET, long history", memory_long, newest),
            case("memory GET, its middle", memory_long, middle),
            case("memory GET, its beginning", memory_long, beginning),
            case("sled GET, long history", sled_long, newest),
            case("sled GET, its middle", sled_long, middle),
            case("sled GET, its beginning", sled_long, beginning),
        ],
    )?;
    for series in &series {
        series.report(report);
    }

    compare_pages(report, &series);
    Ok(())
}

/// The ratios of what [`pages`] measured.
fn compare_pages(report: &mut Report, series: &[Series; 9]) {
    let [
        bare,
        memory,
        sled,
        memory_long,
        memory_middle,
        memory_first,
        sled_long,
        sled_middle,
        sled_first,
    ] = series;
    let mut at_least =
        |measure, bound, ratio| report.measure(measure, Target::AtLeast(bound), "", ratio);
    at_least("memory GET of bare GET", 0.8, memory.throughput_over(bare));
    at_least("sled GET of memory GET", 0.9, sled.throughput_over(memory));

    // The cost of a page is the inverse of its throughput.
    let mut cost = |measure, bound, page: &Series, of: &Series| {
        report.measure(measure, Target::AtMost(bound), "", of.throughput_over(page));
    };
    cost("memory: cost of the newest page, long history of short", 1.1, memory_long, memory);
    cost("memory: cost of a page from the middle of the newest", 1.3, memory_middle, memory_long);
    cost("memory: cost of a page from the beginning of the newest", 1.3, memory_first, memory_long);
    cost("sled: cost of the newest page, long history of short", 1.1, sled_long, sled);
    cost("sled: cost of a page from the middle of the newest", 3.0, sled_middle, sled_long);
    cost("sled: cost of a page from the beginning of the newest", 3.0, sled_first, sled_long);
}

/// Runs last of the loads, because it makes the histories longer.
pub(crate) fn posts(
    report: &mut Report,
    wrk: &Wrk,
    plan: &Plan,
    subjects: &Subjects,
) -> Result<()> {
    let Subjects { bare, memory, sled, .. } = subjects;
    let load = &Load::post();
    sled.rehearse(load)?;

    let case = |label, subject| Case { label, subject, load };
    let series = interleave(
        wrk,
        plan.rounds,
        &[case("bare POST", bare), case("memory POST", memory), case("sled POST", sled)],
    )?;
    for series in &series {
        series.report(report);
    }

    let [bare, memory, sled] = &series;
    report.measure(
        "memory POST of bare POST",
        Target::AtLeast(0.85),
        "",
        memory.throughput_over(bare),
    );
    report.measure(
        "sled POST of memory POST",
        Target::AtLeast(0.5),
        "",
        sled.throughput_over(memory),
    );
    Ok(())
}

/// The cost of messages under idempotency keys, and of replayed ones. Nearly every fresh key here
/// makes the server forget an older one, which is the most expensive case.
pub(crate) fn retries(
    report: &mut Report,
    wrk: &Wrk,
    plan: &Plan,
    subjects: &Subjects,
) -> Result<()> {
    let Subjects { memory, sled, .. } = subjects;
    let keyless = &Load::post();
    let fresh = &Load::post_under(Keys::Fresh);
    let same = &Load::post_under(Keys::Same);

    let case = |label, subject, load| Case { label, subject, load };
    let series = interleave(
        wrk,
        plan.rounds,
        &[
            case("memory POST, no key", memory, keyless),
            case("memory POST, fresh keys", memory, fresh),
            case("memory POST, replayed", memory, same),
            case("sled POST, no key", sled, keyless),
            case("sled POST, fresh keys", sled, fresh),
            case("sled POST, replayed", sled, same),
        ],
    )?;
    for series in &series {
        series.report(report);
    }

    let [memory, memory_fresh, memory_same, sled, sled_fresh, sled_same] = &series;
    let mut at_least =
        |measure, bound, ratio| report.measure(measure, Target::AtLeast(bound), "", ratio);
    at_least("memory: POST under fresh keys of POST", 0.6, memory_fresh.throughput_over(memory));
    at_least("memory: replayed POST of POST", 0.8, memory_same.throughput_over(memory));
    at_least("sled: POST under fresh keys of POST", 0.4, sled_fresh.throughput_over(sled));
    at_least("sled: replayed POST of POST", 0.8, sled_same.throughput_over(sled));
    Ok(())
}

/// The effect of password hashing without pause on other clients.
pub(crate) fn logins(report: &mut Report, wrk: &Wrk, plan: &Plan, subject: &Subject) -> Result<()> {
    let load = &Load::NEWEST;
    let case = |label| Case { label, subject, load };
    let (quiet, busy) = (case("memory GET, no logins"), case("memory GET during logins"));
    let (mut quiet_series, mut busy_series) = (Series::new(quiet.label), Series::new(busy.label));
    let mut logins = 0;
    for round in 1..=plan.rounds {
        eprintln!("round {round} of {}", plan.rounds);
        quiet_series.push(run(wrk, &quiet)?);
        let (sample, count) = while_logging_in(subject.server.address, || run(wrk, &busy))?;
        busy_series.push(sample);
        logins += count;
    }
    if logins == 0 {
        return Err("no login was answered while the others were served".into());
    }
    quiet_series.report(report);
    busy_series.report(report);
    let measure = format!(
        "memory GET: p99 during {logins} logins by {LOGIN_THREADS} clients, of p99 without"
    );
    report.measure(&measure, Target::AtMost(5.0), "", busy_series.p99_over(&quiet_series));
    Ok(())
}
