//! The comparison of two builds, as a table.

use std::fmt;

use crate::pair::Pair;
use crate::report::Spread;

/// The measures that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    Throughput,
    P50,
    P99,
    PerMessage,
    Resident,
    StartUp,
    FileSize,
}

impl Measure {
    const ALL: [Measure; 7] = [
        Measure::Throughput,
        Measure::P50,
        Measure::P99,
        Measure::PerMessage,
        Measure::Resident,
        Measure::StartUp,
        Measure::FileSize,
    ];

    fn name(self) -> &'static str {
        match self {
            Measure::Throughput => "requests/s",
            Measure::P50 => "p50, ms",
            Measure::P99 => "p99, ms",
            Measure::PerMessage => "resident, bytes a message",
            Measure::Resident => "resident, MB",
            Measure::StartUp => "start-up, ms",
            Measure::FileSize => "file, bytes",
        }
    }

    fn decimals(self) -> usize {
        match self {
            Measure::Throughput | Measure::FileSize => 0,
            _ => 2,
        }
    }

    /// The part of the earlier figure that is lost if the new one is `ratio` of it; below zero for
    /// a gain. Throughput is lost by becoming less, everything else by becoming more.
    fn lost(self, ratio: f64) -> f64 {
        match self {
            Measure::Throughput => 1.0 - ratio,
            _ => ratio - 1.0,
        }
    }
}

/// One line of the table.
struct Row {
    path: &'static str,
    measure: Measure,
    figures: Pair<Spread>,
    /// Now over then, round by round.
    ratio: Spread,
}

impl Row {
    fn lost(&self) -> f64 {
        self.measure.lost(self.ratio.median)
    }
}

/// Everything that was compared, in order.
#[derive(Default)]
pub(crate) struct Comparison(Vec<Row>);

impl Comparison {
    /// Adds a pair of figures from each round; there is at least one round.
    pub(crate) fn add(&mut self, path: &'static str, measure: Measure, rounds: &[Pair<f64>]) {
        let spread = |figure: fn(&Pair<f64>) -> f64| Spread::of(rounds.iter().map(figure));
        self.0.push(Row {
            path,
            measure,
            figures: Pair { now: spread(|round| round.now), then: spread(|round| round.then) },
            ratio: spread(|round| round.now / round.then),
        });
    }
}

/// The table, and the largest loss of each measure.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| path | measure | now | then | now/then: median (lowest–highest) | lost |\n\
             |---|---|---|---|---|---|"
        )?;
        for row in &self.0 {
            let Row { path, measure, figures: Pair { now, then }, ratio } = row;
            let (name, decimals, lost) = (measure.name(), measure.decimals(), 100.0 * row.lost());
            let (now, then) = (now.median, then.median);
            writeln!(
                f,
                "| {path} | {name} | {now:.decimals$} | {then:.decimals$} | {ratio:.3} | {lost:.1} % |"
            )?;
        }

        writeln!(f, "\n| measure | most lost, by the median | path |\n|---|---|---|")?;
        for measure in Measure::ALL {
            let rows = self.0.iter().filter(|row| row.measure == measure);
            if let Some(row) = rows.max_by(|one, other| one.lost().total_cmp(&other.lost())) {
                let lost = 100.0 * row.lost();
                writeln!(f, "| {} | {lost:.1} % | {} |", measure.name(), row.path)?;
            }
        }
        Ok(())
    }
}
