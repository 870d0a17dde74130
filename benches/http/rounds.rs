//! Takes samples of several cases in turn, so that other load on the machine affects them all.

use crate::Result;
use crate::report::{Report, Spread};
use crate::subject::Subject;
use crate::wrk::{Load, Sample, Wrk};

/// One load on one server.
pub(crate) struct Case<'a> {
    pub(crate) label: &'static str,
    pub(crate) subject: &'a Subject,
    pub(crate) load: &'a Load,
}

/// A case's samples, one a round.
pub(crate) struct Series {
    label: &'static str,
    samples: Vec<Sample>,
}

impl Series {
    pub(crate) fn new(label: &'static str) -> Series {
        Series { label, samples: Vec::new() }
    }

    pub(crate) fn push(&mut self, sample: Sample) {
        let Sample { throughput, p50, p99 } = sample;
        eprintln!(
            "  {:<32} {throughput:>8.0}/s   p50 {p50:>6.2} ms   p99 {p99:>6.2} ms",
            self.label
        );
        self.samples.push(sample);
    }

    /// The throughput as a part of the other's, round by round.
    pub(crate) fn throughput_over(&self, other: &Series) -> Spread {
        self.over(other, |sample| sample.throughput)
    }

    /// The 99th percentile of latency as a multiple of the other's, round by round.
    pub(crate) fn p99_over(&self, other: &Series) -> Spread {
        self.over(other, |sample| sample.p99)
    }

    fn over(&self, other: &Series, figure: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(
            self.samples.iter().zip(&other.samples).map(|(mine, its)| figure(mine) / figure(its)),
        )
    }

    /// Adds the figures themselves to the report.
    pub(crate) fn report(&self, report: &mut Report) {
        let spread = |figure: fn(&Sample) -> f64| Spread::of(self.samples.iter().map(figure));
        report.load(self.label, spread(|s| s.throughput), spread(|s| s.p50), spread(|s| s.p99));
    }
}

/// Runs each case once, then again, for this many rounds.
pub(crate) fn interleave<const N: usize>(
    wrk: &Wrk,
    rounds: usize,
    cases: &[Case<'_>; N],
) -> Result<[Series; N]> {
    let mut series = cases.each_ref().map(|case| Series::new(case.label));
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for (case, series) in cases.iter().zip(&mut series) {
            series.push(run(wrk, case)?);
        }
    }
    Ok(series)
}

/// Runs a case; an error names it.
pub(crate) fn run(wrk: &Wrk, case: &Case<'_>) -> Result<Sample> {
    let Case { label, subject, load } = case;
    wrk.run(subject.server.address, &subject.tokens.file, load)
        .map_err(|error| format!("{label}: the run does not count: {error}").into())
}
