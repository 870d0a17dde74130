//! The kernel's data on this process.

use std::fs::{self, File};
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use rustix::thread::Pid;

/// Fields of `/proc/self/status`; zeros if they are missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::http) struct Process {
    /// Threads it has.
    pub(in crate::http) threads: usize,
    /// Resident memory.
    pub(in crate::http) resident_bytes: u64,
    /// Size of the descriptor table. Every open descriptor has a lower number.
    pub(in crate::http) descriptor_slots: i32,
}

/// Longer than the part of the file up to the last of these fields.
const STATUS_BYTES: usize = 2048;

impl Process {
    /// Reads the file again through a descriptor that stays open, so that it works when no
    /// descriptor is left.
    pub(in crate::http) fn read() -> Process {
        static STATUS: OnceLock<Option<File>> = OnceLock::new();
        let mut buffer = [0; STATUS_BYTES];
        let file = STATUS.get_or_init(|| File::open("/proc/self/status").ok()).as_ref();
        let len = file.and_then(|file| file.read_at(&mut buffer, 0).ok()).unwrap_or(0);
        Process::parse(&String::from_utf8_lossy(&buffer[..len]))
    }

    /// The descriptor on which a thread blocks in a system call; `None` if there is none, or the
    /// kernel does not say.
    pub(in crate::http) fn waits_on(thread: Pid) -> Option<RawFd> {
        let path = format!("/proc/self/task/{}/syscall", thread.as_raw_nonzero());
        let call = fs::read_to_string(path).ok()?;
        // The line has the number of the call and its arguments. Calls that block on a socket have
        // the descriptor first.
        let first = call.split_whitespace().nth(1)?.strip_prefix("0x")?;
        RawFd::from_str_radix(first, 16).ok()
    }

    /// Limit on the descriptors that the process may have open.
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
    fn this_process_is_read() {
        let process = Process::read();
        assert!(process.threads >= 1, "{process:?}");
        assert!(process.descriptor_slots >= 3, "{process:?}");
        let file = File::open("/dev/null").unwrap();
        let highest = std::os::fd::AsRawFd::as_raw_fd(&file);
        assert!(Process::read().descriptor_slots > highest);
    }

    #[test]
    fn a_status_is_read() {
        let status = "Name:\ta:\tb\nFDSize:\t256\nVmRSS:\t    9 kB\nThreads:\t7\nSigQ:\t1/2\n";
        let expected = Process { threads: 7, resident_bytes: 9216, descriptor_slots: 256 };
        assert_eq!(Process::parse(status), expected);
        assert_eq!(Process::parse("nothing"), Process::default());
    }
}
