//! The order of frames: sequence numbers without gaps, in groups without overlaps.

use super::frame::Frame;

/// The state of a log so far that decides which frame may come next.
#[derive(Debug, Default)]
pub(in crate::store) struct Sequence {
    /// Unknown at first, and after bytes that could not be read.
    next_lsn: Option<u64>,
    /// The first record of the group that the newest one belongs to.
    group_start: Option<u64>,
}

impl Sequence {
    /// Begins a segment, whose header has this first record. No group extends into it.
    pub(in crate::store) fn begin_segment(&mut self, first_lsn: u64) -> Result<(), &'static str> {
        let fits = self.next_lsn.is_none_or(|next| next == first_lsn);
        self.next_lsn = Some(first_lsn);
        self.group_start = None;
        if fits { Ok(()) } else { Err("records are missing before this segment") }
    }

    /// Continues after `frame`, even if another one had to follow.
    pub(in crate::store) fn take(&mut self, frame: &Frame<'_>) -> Result<(), &'static str> {
        let lsn = frame.stamp.lsn;
        let expected = self.next_lsn.replace(lsn.saturating_add(1));
        let group = self.group_start.replace(frame.group_start);
        if expected.is_some_and(|expected| expected != lsn) {
            return Err("records are missing before this one");
        }
        // The frames before the first seen one of a group are unknown only after damage.
        let begins = frame.group_start == lsn || expected.is_none();
        if begins || group == Some(frame.group_start) {
            Ok(())
        } else {
            Err("the record is not of the group that it is in")
        }
    }

    /// Notes that the next frame follows something unreadable.
    pub(in crate::store) fn lose_track(&mut self) {
        *self = Sequence::default();
    }

    /// The sequence number that has to come next, where it is known.
    pub(in crate::store) fn next_lsn(&self) -> Option<u64> {
        self.next_lsn
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Stamp;
    use super::*;

    fn frame(lsn: u64, group_start: u64) -> Frame<'static> {
        let stamp = Stamp { position: 0, end: 0, lsn, crc: 0 };
        Frame { stamp, group_start, payload: &[] }
    }

    #[test]
    fn groups_follow_each_other() {
        let mut sequence = Sequence::default();
        sequence.begin_segment(4).unwrap();
        for (lsn, group_start) in [(4, 4), (5, 4), (6, 4), (7, 7), (8, 8), (9, 8)] {
            sequence.take(&frame(lsn, group_start)).unwrap();
        }
        sequence.begin_segment(10).unwrap();
        sequence.take(&frame(10, 10)).unwrap();
    }

    #[test]
    fn anything_else_is_noticed_once() {
        let after = |bad: &Frame<'_>| {
            let mut sequence = Sequence::default();
            sequence.begin_segment(4).unwrap();
            sequence.take(&frame(4, 4)).unwrap();
            sequence.take(&frame(5, 4)).unwrap();
            sequence.take(bad).unwrap_err();
            sequence.take(&frame(bad.stamp.lsn + 1, bad.stamp.lsn + 1)).unwrap();
        };
        for bad in [frame(4, 4), frame(7, 7), frame(7, 4), frame(6, 5), frame(6, 3)] {
            after(&bad);
        }
        let mut sequence = Sequence::default();
        sequence.begin_segment(4).unwrap();
        sequence.take(&frame(4, 4)).unwrap();
        assert!(sequence.begin_segment(6).is_err());
        assert!(sequence.take(&frame(6, 4)).is_err(), "no group goes on in the next segment");
        sequence.lose_track();
        sequence.take(&frame(90, 80)).unwrap();
        sequence.take(&frame(91, 80)).unwrap();
    }
}
