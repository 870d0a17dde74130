//! The contents of a log after damage to its files.

use std::fs::{self, File, OpenOptions};

use tempfile::TempDir;

use super::frame::MAX_PAYLOAD_BYTES;
use super::*;
use crate::store::error::LogDamage;

const EPOCH: StoreId = StoreId(0x0123_4567_89ab_cdef);
/// Length of a frame with a payload of five bytes.
const FRAME: u64 = FRAME_HEADER_BYTES as u64 + 5;

/// A log in a directory of its own, the groups that were put in, and where each frame lies.
struct Sample {
    dir: TempDir,
    log: Log,
    payloads: Vec<Vec<u8>>,
    stamps: Vec<Stamp>,
}

impl Sample {
    fn new(segment_bytes: u64) -> Sample {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(&dir.path().join("log"), EPOCH).unwrap();
        log.segment_bytes = segment_bytes;
        Sample { dir, log, payloads: Vec::new(), stamps: Vec::new() }
    }

    /// A log of some groups, each of three frames with payloads of five bytes.
    fn with_groups(groups: usize) -> Sample {
        let mut sample = Sample::new(SEGMENT_BYTES);
        for group in 0..groups {
            for frame in 0..3 {
                sample.append(format!("{group:03}.{frame}").into_bytes());
            }
            sample.log.sync().unwrap();
        }
        sample
    }

    fn append(&mut self, payload: Vec<u8>) {
        self.stamps.push(self.log.append(|out| out.extend(&payload)).unwrap());
        self.payloads.push(payload);
    }

    fn dir(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The segment files in order.
    fn files(&self) -> Vec<PathBuf> {
        segment::files(&self.dir()).unwrap().into_iter().map(|(_, path)| path).collect()
    }

    /// Opens the log that the files make now, and reads it all.
    fn reopen(&self) -> Result<Reopened, StoreError> {
        reopen(&self.dir(), 0)
    }

    fn expect_damage(&self, file: &Path, offset: u64) {
        match self.reopen() {
            Err(StoreError::Damaged(damage)) => {
                assert_eq!((&*damage.file, damage.offset), (file, offset), "{damage}");
            }
            other => panic!("{} is damaged at {offset}: {other:?}", file.display()),
        }
    }
}

#[derive(Debug)]
struct Reopened {
    log: Log,
    payloads: Vec<Vec<u8>>,
    torn: u64,
}

fn reopen(dir: &Path, durable: u64) -> Result<Reopened, StoreError> {
    let mut log = Log::open(dir)?.expect("there is a log");
    let mut payloads = Vec::new();
    let end = log.scan_and_mend(Log::START, durable, |frame| {
        payloads.push(frame.payload.to_vec());
        Ok(ControlFlow::Continue(()))
    })?;
    let torn = log.recover(end, durable)?;
    Ok(Reopened { log, payloads, torn })
}

/// Appends to a log that was opened again, and expects that to be there the next time.
fn expect_goes_on(dir: &Path, mut reopened: Reopened) {
    let mut expected = reopened.payloads;
    for payload in [b"more!", b"again"] {
        reopened.log.append(|out| out.extend(payload)).unwrap();
        reopened.log.sync().unwrap();
        expected.push(payload.to_vec());
    }
    drop(reopened.log);
    let Reopened { payloads, torn, .. } = reopen(dir, 0).unwrap();
    assert_eq!((payloads, torn), (expected, 0));
}

fn flip(file: &Path, offset: u64) {
    let mut bytes = fs::read(file).unwrap();
    bytes[usize::try_from(offset).unwrap()] ^= 1 << (offset % 8);
    fs::write(file, bytes).unwrap();
}

/// A number that looks like nothing, the same for the same `n`.
fn noise(n: u32) -> u32 {
    crc32c::crc32c(&n.to_le_bytes())
}

/// The bytes on every disk out there: this literal never changes.
#[test]
fn golden() {
    let sample = Sample::with_groups(1);
    let file = fs::read(&sample.files()[0]).unwrap();
    let hex: Vec<String> = file.iter().map(|byte| format!("{byte:02x}")).collect();
    let (header, frames) = hex.split_at(HEADER_BYTES);
    let (first, frames) = frames.split_at(25);
    let second = &frames[..25];
    assert_eq!(
        header.concat(),
        "56454348454c4f4701000000efcdab89674523010000000000000000000000000000000008b24797"
    );
    assert_eq!(first.concat(), "5d25e777050000000000000000000000000000003030302e30");
    assert_eq!(second.concat(), "6442baea050000000100000001000000000000003030302e31");
    assert_eq!(sample.files()[0].file_name().unwrap(), "00000000000000000000.log");
}

#[test]
fn synced_frames_come_back() {
    let mut sample = Sample::with_groups(4);
    sample.log.append(|out| out.extend(b"never")).unwrap();
    let reopened = sample.reopen().unwrap();
    assert_eq!((&reopened.payloads, reopened.torn), (&sample.payloads, 0));
    assert_eq!(reopened.log.store_id(), EPOCH);
    assert_eq!(reopened.log.end(), sample.stamps[11].end);
    expect_goes_on(&sample.dir(), reopened);
}

#[test]
fn a_log_without_records_and_a_directory_without_a_log() {
    let sample = Sample::new(SEGMENT_BYTES);
    let reopened = sample.reopen().unwrap();
    assert!(reopened.payloads.is_empty());
    expect_goes_on(&sample.dir(), reopened);
    assert!(Log::open(&sample.dir.path().join("other")).unwrap().is_none());
    assert!(Log::open(sample.dir.path()).unwrap().is_none());
}

#[test]
fn a_group_torn_at_any_byte_is_cut_there() {
    let sample = Sample::with_groups(3);
    let file = &sample.files()[0];
    let whole = fs::read(file).unwrap();
    for len in sample.stamps[5].end..=sample.log.end() {
        fs::write(file, &whole[..usize::try_from(len).unwrap()]).unwrap();
        let reopened = sample.reopen().unwrap();
        let kept = usize::try_from((len - HEADER_BYTES as u64) / FRAME).unwrap();
        assert_eq!(reopened.payloads, sample.payloads[..kept], "cut at {len}");
        assert_eq!(reopened.torn, len - reopened.log.end());
        expect_goes_on(&sample.dir(), reopened);
    }
}

#[test]
fn a_bit_flipped_before_the_last_group_is_refused() {
    let sample = Sample::with_groups(3);
    let file = &sample.files()[0];
    for stamp in &sample.stamps[..6] {
        for offset in stamp.position..stamp.end {
            flip(file, offset);
            // As often as it is tried.
            for _ in 0..2 {
                sample.expect_damage(file, stamp.position);
            }
            flip(file, offset);
        }
    }
    assert!(sample.reopen().is_ok());
}

/// Nothing proves that it was acknowledged, and it may have been.
#[test]
fn a_bit_flipped_in_the_last_group_is_put_right() {
    let sample = Sample::with_groups(2);
    let file = &sample.files()[0];
    let whole = fs::read(file).unwrap();
    for offset in sample.stamps[3].position..sample.log.end() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[usize::try_from(offset).unwrap()] ^= 1 << bit;
            fs::write(file, bytes).unwrap();
            let reopened = sample.reopen().unwrap();
            assert_eq!(reopened.payloads, sample.payloads, "bit {bit} at {offset}");
            assert_eq!(reopened.torn, 0);
            assert_eq!(fs::read(file).unwrap(), whole, "bit {bit} at {offset}");
        }
    }
    expect_goes_on(&sample.dir(), sample.reopen().unwrap());
}

/// Each frame of the group with a bit of its own, and the last one torn.
#[test]
fn bits_flipped_in_a_group_that_is_torn_are_put_right_up_to_there() {
    let sample = Sample::with_groups(2);
    let file = &sample.files()[0];
    flip(file, sample.stamps[3].position + 21);
    flip(file, sample.stamps[4].position + 4);
    let torn = OpenOptions::new().write(true).open(file).unwrap();
    torn.set_len(sample.log.end() - 1).unwrap();
    let reopened = sample.reopen().unwrap();
    assert_eq!(reopened.payloads, sample.payloads[..5]);
    assert_eq!(reopened.torn, FRAME - 1);
    expect_goes_on(&sample.dir(), reopened);
}

/// Blocks of one write reach the disk in any order.
#[test]
fn a_hole_in_the_last_group_is_cut_whatever_follows_it() {
    for hole in 3..6 {
        let sample = Sample::with_groups(2);
        let file = &sample.files()[0];
        let mut bytes = fs::read(file).unwrap();
        let Stamp { position, end, .. } = sample.stamps[hole];
        bytes[usize::try_from(position).unwrap()..usize::try_from(end).unwrap()].fill(0);
        fs::write(file, bytes).unwrap();
        let reopened = sample.reopen().unwrap();
        assert_eq!(reopened.payloads, sample.payloads[..hole]);
        expect_goes_on(&sample.dir(), reopened);
    }
}

/// Bytes that a crash may leave after the last group of a log.
type Tail<'a> = &'a dyn Fn(&Sample) -> Vec<u8>;

#[test]
fn a_tail_that_is_no_frame_is_cut() {
    let noise: Vec<u8> = (0..25_000).flat_map(|n| noise(n).to_le_bytes()).collect();
    let first_frame = |sample: &Sample| {
        let bytes = fs::read(&sample.files()[0]).unwrap();
        bytes[HEADER_BYTES..HEADER_BYTES + 25].to_vec()
    };
    let tails: [(&str, Tail); 8] = [
        ("a byte", &|_| vec![7]),
        ("less than a frame's header of zeros", &|_| vec![0; FRAME_HEADER_BYTES - 1]),
        ("zeros", &|_| vec![0; 4096]),
        ("many zeros", &|_| vec![0; 2 * MAX_FRAME_BYTES]),
        ("ones", &|_| vec![0xff; 4096]),
        ("noise", &|_| noise.clone()),
        ("an old frame", &first_frame),
        ("noise and an old frame", &|sample| [&noise[..99], &first_frame(sample)].concat()),
    ];
    for (what, tail) in tails {
        let sample = Sample::with_groups(2);
        let file = &sample.files()[0];
        let tail = tail(&sample);
        fs::write(file, [fs::read(file).unwrap(), tail.clone()].concat()).unwrap();
        let reopened = sample.reopen().unwrap();
        assert_eq!(reopened.payloads, sample.payloads, "{what}");
        assert_eq!(reopened.torn, tail.len() as u64, "{what}");
        expect_goes_on(&sample.dir(), reopened);
    }
}

/// Whatever lies between, and also where the frame itself lies in the place of the missing one.
#[test]
fn a_later_group_after_the_end_is_refused() {
    for between in [0, 1, 24, 25, 26, 5000] {
        let sample = Sample::with_groups(3);
        let file = &sample.files()[0];
        let bytes = fs::read(file).unwrap();
        let (before, group) = (sample.stamps[5].end, sample.stamps[8]);
        let (before, last_frame) = bytes.split_at(usize::try_from(before).unwrap());
        let last_frame = &last_frame[last_frame.len() - 25..];
        let next = &bytes[HEADER_BYTES + 6 * 25..HEADER_BYTES + 7 * 25];

        // A frame of the group that is missing: it was never acknowledged.
        let torn = [before, &vec![0; between], last_frame].concat();
        fs::write(file, torn).unwrap();
        assert_eq!(sample.reopen().unwrap().payloads, sample.payloads[..6], "{group:?}");

        // A frame of the group after the one that is missing: that one was.
        let (before, _) = before.split_at(HEADER_BYTES + 3 * 25);
        fs::write(file, [before, &vec![0; between], next].concat()).unwrap();
        sample.expect_damage(file, sample.stamps[3].position);
    }
}

#[test]
fn frames_known_to_be_synced_must_be_there() {
    let sample = Sample::with_groups(2);
    let file = &sample.files()[0];
    let (last, end) = (sample.stamps[5], sample.log.end());
    assert!(reopen(&sample.dir(), end).is_ok());
    flip(file, last.position + 7);
    for _ in 0..2 {
        let refused = reopen(&sample.dir(), end).unwrap_err();
        let what = "records that were synced are missing here";
        let damage = LogDamage { file: file.clone(), offset: last.position, what };
        assert_eq!(refused.to_string(), damage.to_string());
    }
    assert!(reopen(&sample.dir(), last.position).is_ok());
}

/// Frames of every length up to the longest, in groups and segments of every length, read back in
/// every way.
#[test]
fn frames_of_all_lengths_in_many_segments() {
    let mut count = 0;
    let mut below = |end: usize| {
        count += 1;
        noise(count) as usize % end
    };
    let mut sample = Sample::new(300_000);
    for _ in 0..400 {
        for _ in 0..=below(4) {
            let lens = [0, 1, below(100), below(5000), below(1 + MAX_PAYLOAD_BYTES)];
            let byte = u8::try_from(below(256)).unwrap();
            sample.append(vec![byte; lens[below(lens.len())]]);
        }
        sample.log.sync().unwrap();
    }
    sample.append(vec![1; MAX_PAYLOAD_BYTES]);
    sample.log.sync().unwrap();
    assert!(sample.files().len() > 10);

    let reopened = sample.reopen().unwrap();
    assert!(reopened.payloads == sample.payloads);
    for every in [1, 2, 7, 100] {
        let chosen: Vec<usize> = (0..sample.stamps.len()).step_by(every).collect();
        let positions: Vec<u64> = chosen.iter().map(|&i| sample.stamps[i].position).collect();
        let mut seen = 0;
        let read = reopened.log.read(&positions, |frame| {
            assert_eq!(frame.stamp, sample.stamps[chosen[seen]]);
            assert!(frame.payload == sample.payloads[chosen[seen]]);
            seen += 1;
            Ok(())
        });
        read.unwrap();
        assert_eq!(seen, positions.len());
    }
    for from in (0..sample.stamps.len()).step_by(17) {
        let mut seen = from;
        let scan = reopened.log.scan(sample.stamps[from].position, |frame| {
            assert_eq!(frame.stamp, sample.stamps[seen]);
            seen += 1;
            let enough = seen == from + 60;
            Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        assert_eq!(scan.unwrap().next_lsn, seen as u64);
        assert_eq!(seen, sample.stamps.len().min(from + 60));
    }
    expect_goes_on(&sample.dir(), reopened);
}

/// A log with one group in each segment.
fn segments(count: usize) -> Sample {
    let mut sample = Sample::with_groups(0);
    sample.log.segment_bytes = HEADER_BYTES as u64 + 1;
    for group in 0..count {
        sample.append(format!("{group:03}.0").into_bytes());
        sample.append(format!("{group:03}.1").into_bytes());
        sample.log.sync().unwrap();
    }
    assert_eq!(sample.files().len(), count);
    sample
}

#[test]
fn damage_is_reported_with_file_and_offset() {
    let sample = segments(4);
    let away = &sample.dir.path().join("away");
    for (index, file) in sample.files().iter().enumerate().take(3) {
        for (offset, at) in [(0, 0), (20, 0), (41, 40), (64, 40), (65, 65), (89, 65)] {
            flip(file, offset);
            sample.expect_damage(file, at);
            flip(file, offset);
        }
        let whole = fs::read(file).unwrap();
        for len in [0, 39, 40, 41, 65, 89] {
            fs::write(file, &whole[..len]).unwrap();
            sample.expect_damage(file, len as u64);
        }
        fs::write(file, [&whole[..], b"x"].concat()).unwrap();
        sample.expect_damage(file, whole.len() as u64);
        fs::write(file, whole).unwrap();
        // The next one's absence shows after the end of this one.
        let next = &sample.files()[index + 1];
        if index < 2 {
            fs::rename(next, away).unwrap();
            sample.expect_damage(file, 90);
            fs::rename(away, next).unwrap();
        }
    }
    let [first, second, ..] = &sample.files()[..] else { panic!("too few") };
    fs::rename(first, away).unwrap();
    sample.expect_damage(second, 0);
    // In each other's place, and back.
    fs::rename(second, first).unwrap();
    fs::rename(away, second).unwrap();
    sample.expect_damage(first, 0);
    for (from, to) in [(first, away), (second, first), (away, second)] {
        fs::rename(from, to).unwrap();
    }
    assert_eq!(sample.reopen().unwrap().payloads, sample.payloads);
}

/// A crash may leave the newest segment with any part of its header, and with nothing after it.
#[test]
fn a_newest_segment_without_a_whole_header_is_dropped() {
    let sample = segments(3);
    let newest = &sample.files()[2];
    let header = fs::read(newest).unwrap()[..HEADER_BYTES].to_vec();
    let mut remains: Vec<Vec<u8>> = (0..HEADER_BYTES).map(|len| header[..len].to_vec()).collect();
    remains.push(vec![0; HEADER_BYTES]);
    remains.push([&header[..20], &[0; 20]].concat());
    for remains in remains {
        fs::write(newest, &remains).unwrap();
        let reopened = sample.reopen().unwrap();
        assert_eq!(reopened.payloads, sample.payloads[..4], "{remains:x?}");
        assert!(!newest.exists());
        expect_goes_on(&sample.dir(), reopened);
        // What went on has replaced the segment; put the older ones back as they were.
        let before = &sample.files()[1];
        let whole = fs::read(before).unwrap();
        fs::write(before, &whole[..90]).unwrap();
    }
    let sample = Sample::new(SEGMENT_BYTES);
    fs::write(&sample.files()[0], &header[..10]).unwrap();
    assert!(Log::open(&sample.dir()).unwrap().is_none(), "there was never anything in it");
}

#[test]
fn a_newest_segment_with_records_is_not_dropped() {
    let sample = segments(3);
    let newest = &sample.files()[2];
    for offset in 0..HEADER_BYTES as u64 {
        flip(newest, offset);
        match sample.reopen() {
            Err(StoreError::Damaged(LogDamage { file, offset: 0, .. })) => {
                assert_eq!(&file, newest);
            }
            Err(StoreError::Refused(_)) if (8..12).contains(&offset) => {}
            other => panic!("flipped at {offset}: {other:?}"),
        }
        flip(newest, offset);
    }
    assert_eq!(sample.reopen().unwrap().payloads, sample.payloads);
}

#[test]
fn a_segment_of_a_newer_version_is_refused() {
    let sample = segments(2);
    for file in sample.files() {
        let whole = fs::read(&file).unwrap();
        for len in [whole.len(), HEADER_BYTES] {
            let mut bytes = whole[..len].to_vec();
            bytes[8] = 2;
            let crc = crc32c::crc32c(&bytes[..36]);
            bytes[36..40].copy_from_slice(&crc.to_le_bytes());
            fs::write(&file, bytes).unwrap();
            let refused = sample.reopen().unwrap_err().to_string();
            let why = "was written by a newer version of veche (format 2, this one knows 1)";
            assert_eq!(refused, format!("{} {why}", file.display()));
        }
        fs::write(&file, whole).unwrap();
    }
}

#[test]
fn a_segment_of_another_store_is_refused() {
    let sample = segments(3);
    let file = &sample.files()[1];
    let mut bytes = fs::read(file).unwrap();
    bytes[12] ^= 1;
    let crc = crc32c::crc32c(&bytes[..36]);
    bytes[36..40].copy_from_slice(&crc.to_le_bytes());
    fs::write(file, bytes).unwrap();
    sample.expect_damage(file, 0);
}

/// A failed write is remembered even if there is nothing more to write.
#[test]
fn a_failure_is_final() {
    let mut sample = Sample::with_groups(1);
    let file = &sample.files()[0];
    let writable = std::mem::replace(&mut sample.log.segments[0].file, File::open(file).unwrap());
    sample.append(b"never".to_vec());
    assert!(matches!(sample.log.sync(), Err(StoreError::Failed { .. })));
    sample.log.segments[0].file = writable;
    assert!(matches!(sample.log.sync(), Err(StoreError::Failed { .. })));
    assert!(!sample.log.is_synced());
    assert_eq!(sample.reopen().unwrap().payloads, sample.payloads[..3]);

    let mut sample = segments(2);
    let next = sample.dir().join(format!("{:020}.log", sample.log.end()));
    fs::create_dir(&next).unwrap();
    for _ in 0..2 {
        let refused = sample.log.append(|out| out.extend(b"never")).unwrap_err();
        assert!(matches!(refused, StoreError::Failed { path, .. } if path == next));
        assert!(matches!(sample.log.sync(), Err(StoreError::Failed { .. })));
        assert!(!sample.log.is_synced());
    }
}

#[test]
fn a_log_that_is_begun_anew_knows_nothing_of_before() {
    let mut sample = segments(3);
    sample.append(b"never".to_vec());
    sample.log.restart(StoreId(9)).unwrap();
    assert!(sample.log.is_synced());
    sample.log.append(|out| out.extend(b"first")).unwrap();
    sample.log.sync().unwrap();
    let reopened = sample.reopen().unwrap();
    assert_eq!(
        (reopened.log.store_id(), &*reopened.payloads),
        (StoreId(9), &[b"first".to_vec()][..])
    );
    assert_eq!(reopened.torn, 0);
}
