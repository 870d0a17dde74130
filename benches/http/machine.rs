//! The machine of a run.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Instant;

use crate::Result;
use crate::report::Spread;

/// Appends timed by [`sync_cost`].
const SYNCS: usize = 200;

/// One line about the machine, its load before the run, and the disk that `dir` is on.
pub(crate) fn describe(dir: &Path) -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(format!(
        "{}, {} cores, Linux {}; load average before: {}; fdatasync of a small append: {} ms",
        model.unwrap_or("unknown processor"),
        thread::available_parallelism()?,
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        sync_cost(dir)?
    ))
}

/// The cost of durability on this machine, in milliseconds, which is most of the cost of a POST to
/// sled.
fn sync_cost(dir: &Path) -> Result<Spread> {
    let mut file = File::create(dir.join("sync-cost"))?;
    let mut cost = || -> Result<f64> {
        let start = Instant::now();
        file.write_all(&[0; 100])?;
        file.sync_data()?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    Ok(Spread::of((0..SYNCS).map(|_| cost()).collect::<Result<Vec<f64>>>()?))
}
