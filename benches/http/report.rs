//! Figures and how they are shown: medians with their spread, and the tables.

use std::fmt;

/// A median and the extremes it comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// Of at least one figure.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Spread {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        assert!(!figures.is_empty(), "every measure is taken at least once");
        let (upper, lower) = (figures.len() / 2, (figures.len() - 1) / 2);
        Spread {
            median: f64::midpoint(figures[lower], figures[upper]),
            min: figures[0],
            max: figures[figures.len() - 1],
        }
    }
}

/// With as many decimals as the precision says, two where none is given.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(2);
        let Spread { median, min, max } = self;
        write!(f, "{median:.decimals$} ({min:.decimals$}–{max:.decimals$})")
    }
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Target::AtLeast(bound) => figure >= bound,
            Target::AtMost(bound) => figure <= bound,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::AtLeast(bound) => write!(f, "≥ {bound}"),
            Target::AtMost(bound) => write!(f, "≤ {bound}"),
        }
    }
}

/// Everything a run of the bench found out, in the order it did.
#[derive(Default)]
pub(crate) struct Report {
    targets: Vec<String>,
    loads: Vec<String>,
    crowds: Vec<String>,
}

impl Report {
    /// A figure that has a target.
    pub(crate) fn measure(&mut self, measure: &str, target: Target, unit: &str, measured: Spread) {
        let met = if target.is_met(measured.median) { "yes" } else { "**no**" };
        self.targets.push(format!("| {measure} | {target}{unit} | {measured}{unit} | {met} |"));
    }

    /// The figures behind a ratio.
    pub(crate) fn load(&mut self, load: &str, throughput: Spread, p50: Spread, p99: Spread) {
        self.loads.push(format!("| {load} | {throughput:.0} | {p50} | {p99} |"));
    }
}

impl Report {
    /// How late those that waited or listened had a message, in milliseconds, and what each costs in KiB.
    pub(crate) fn crowd(
        &mut self,
        who: &str,
        p50: Spread,
        p99: Spread,
        last: Spread,
        resident: Spread,
    ) {
        let resident = resident.median;
        self.crowds.push(format!("| {who} | {p50} | {p99} | {last} | {resident:.1} |"));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| measure | target | measured: median (min–max) | met |\n|---|---|---|---|")?;
        self.targets.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        if !self.loads.is_empty() {
            writeln!(f, "\n| load | requests/s | p50, ms | p99, ms |\n|---|---|---|---|")?;
            self.loads.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        }
        if !self.crowds.is_empty() {
            let columns = "| who | p50, ms | p99, ms | last, ms | resident for each, KiB |";
            writeln!(f, "\n{columns}\n|---|---|---|---|---|")?;
            self.crowds.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        }
        Ok(())
    }
}
