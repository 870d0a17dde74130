//! Figures and their form: medians with their spread, and the tables.

use std::fmt;

/// A median and the extremes it comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// The spread of at least one figure.
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

/// With the given number of decimals, two by default.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(2);
        let Spread { median, min, max } = self;
        write!(f, "{median:.decimals$} ({min:.decimals$}–{max:.decimals$})")
    }
}

/// The target of a figure.
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

/// All results of a run of the bench, in order.
#[derive(Default)]
pub(crate) struct Report {
    targets: Vec<String>,
    loads: Vec<String>,
    crowds: Vec<String>,
}

impl Report {
    /// Adds a figure that has a target.
    pub(crate) fn measure(&mut self, measure: &str, target: Target, unit: &str, measured: Spread) {
        let met = if target.is_met(measured.median) { "yes" } else { "**no**" };
        self.targets.push(format!("| {measure} | {target}{unit} | {measured}{unit} | {met} |"));
    }

    /// Adds the figures behind a ratio.
    pub(crate) fn load(&mut self, load: &str, throughput: Spread, p50: Spread, p99: Spread) {
        self.loads.push(format!("| {load} | {throughput:.0} | {p50} | {p99} |"));
    }
}

impl Report {
    /// Adds the delays of waiting clients, in milliseconds, and the memory of each in KiB.
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
