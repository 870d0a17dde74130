//! What the system says of this process.

use std::fs::{self, File};
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use rustix::thread::Pid;

/// A look at `/proc/self/status`; zeros where the system does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::http) struct Process {
    /// Threads it has.
    pub(in crate::http) threads: usize,
    /// Bytes of its memory that are resident.
    pub(in crate::http) resident_bytes: u64,
    /// Places in its table of descriptors: none that is open has a higher number.
    pub(in crate::http) descriptor_slots: i32,
}

/// Longer than what stands before the fields that matter.
const STATUS_BYTES: usize = 2048;

impl Process {
    /// Opens no file, so that it works when no descriptor is left: the one it reads stays open.
    pub(in crate::http) fn look() -> Process {
        static STATUS: OnceLock<Option<File>> = OnceLock::new();
        let mut buffer = [0; STATUS_BYTES];
        let file = STATUS.get_or_init(|| File::open("/proc/self/status").ok()).as_ref();
        let len = file.and_then(|file| file.read_at(&mut buffer, 0).ok()).unwrap_or(0);
        Process::parse(&String::from_utf8_lossy(&buffer[..len]))
    }

    /// The descriptor for which a thread waits in a call to the system; `None` where it waits for
    /// none, or the system does not say.
    pub(in crate::http) fn waits_on(thread: Pid) -> Option<RawFd> {
        let path = format!("/proc/self/task/{}/syscall", thread.as_raw_nonzero());
        let call = fs::read_to_string(path).ok()?;
        // The number of the call, and its arguments: of those that wait for a socket the descriptor
        // is the first.
        let first = call.split_whitespace().nth(1)?.strip_prefix("0x")?;
        RawFd::from_str_radix(first, 16).ok()
    }

    /// The descriptors it may have open at once.
    pub(in crate::http) fn max_descriptors() -> usize {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
    }

    fn parse(status: &str) -> Process {
        let mut process = Process::default();
        for line in status.lines() {
            match line.split_once(":\t") {
                Some(("FDSize", value)) => {
                    process.descriptor_slots = value.parse().unwrap_or_default();
                }
                Some(("VmRSS", value)) => process.resident_bytes = kilobytes(value) * 1024,
                Some(("Threads", value)) => process.threads = value.parse().unwrap_or_default(),
                _ => {}
            }
        }
        process
    }
}

/// A value such as `    9456 kB`.
fn kilobytes(value: &str) -> u64 {
    value.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let process = Process::look();
        assert!(process.threads >= 1, "{process:?}");
        assert!(process.descriptor_slots >= 3, "{process:?}");
        let file = File::open("/dev/null").unwrap();
        let highest = std::os::fd::AsRawFd::as_raw_fd(&file);
        assert!(Process::look().descriptor_slots > highest);
    }

    #[test]
    fn a_status_is_read() {
        let status = "Name:\ta:\tb\nFDSize:\t256\nVmRSS:\t    9 kB\nThreads:\t7\nSigQ:\t1/2\n";
        let expected = Process { threads: 7, resident_bytes: 9216, descriptor_slots: 256 };
        assert_eq!(Process::parse(status), expected);
        assert_eq!(Process::parse("nothing"), Process::default());
    }
}
