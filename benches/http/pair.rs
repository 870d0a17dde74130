//! A value for each of the two builds.

use crate::Result;

/// The value of this build, and that of the earlier one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<T> {
    pub(crate) now: T,
    pub(crate) then: T,
}

impl<T> Pair<T> {
    pub(crate) fn map<'a, U>(&'a self, mut of: impl FnMut(&'a T) -> U) -> Pair<U> {
        Pair { now: of(&self.now), then: of(&self.then) }
    }

    pub(crate) fn try_map<'a, U>(
        &'a self,
        mut of: impl FnMut(&'a T) -> Result<U>,
    ) -> Result<Pair<U>> {
        Ok(Pair { now: of(&self.now)?, then: of(&self.then)? })
    }

    /// Measures both twice, one before and after the other, so that a steady drift of the machine
    /// affects both alike. The order changes from round to round, because the first finds the
    /// caches full of other data. An error names the build.
    pub(crate) fn interleave<U>(
        &self,
        round: usize,
        mut measure: impl FnMut(&T) -> Result<U>,
    ) -> Result<Pair<[U; 2]>> {
        let mut measure = |name: &str, one: &T| {
            measure(one).map_err(|error| format!("the build of {name}: {error}"))
        };
        let mut around = |outer: (&str, &T), inner: (&str, &T)| -> Result<([U; 2], [U; 2])> {
            let first = measure(outer.0, outer.1)?;
            let middle = [measure(inner.0, inner.1)?, measure(inner.0, inner.1)?];
            Ok(([first, measure(outer.0, outer.1)?], middle))
        };
        let (now, then) = (("now", &self.now), ("then", &self.then));
        if round.is_multiple_of(2) {
            let (then, now) = around(then, now)?;
            Ok(Pair { now, then })
        } else {
            let (now, then) = around(now, then)?;
            Ok(Pair { now, then })
        }
    }
}
