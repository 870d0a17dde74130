//! strace: starts a server under it, and recognizes the end of its output.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::server::{PATIENCE, Server, until, veche};

/// Calls that change files, make changes durable, or answer a client.
const CALLS: &str = "trace=openat,mkdir,rename,unlink,unlinkat,rmdir,write,pwrite64,pwritev,fsync,\
                     fdatasync,ftruncate,sendto";

/// Returns whether strace is missing; a test that needs it then passes, except in CI.
pub(crate) fn is_missing() -> bool {
    let found = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    let missing = !found.is_ok_and(|status| status.success());
    if missing {
        assert!(env::var_os("CI").is_none(), "there is no strace");
        eprintln!("not run: there is no strace");
    }
    missing
}

/// The server's command, run under strace with additional arguments. strace is a detached tracer
/// (`-D`), so that the process is the server's own.
pub(crate) fn strace(output: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let binary = veche();
    let mut command = Command::new("strace");
    for (name, value) in binary.get_envs() {
        if value.is_none() {
            command.env_remove(name);
        }
    }
    command.args(["-D", "-f", "-o"]).arg(output).args(args);
    command.arg(binary.get_program()).stdin(Stdio::null());
    command
}

/// Starts a server in `dir` with all its calls written to `output`.
pub(crate) fn traced(dir: &Path, output: &Path) -> Server {
    Server::spawn(&mut tracing(dir, output, &["--seccomp-bpf"]), dir)
}

/// The same, for a server that is killed at this `fsync` of one of its threads. strace counts
/// injected calls wrongly if the kernel filters the calls.
pub(crate) fn killed_at(dir: &Path, output: &Path, sync: usize) -> Command {
    let mut command =
        tracing(dir, output, &["-e", &format!("inject=fsync:signal=KILL:when={sync}")]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// The same at one of a thread's calls of `fdatasync`, before it is done: the write is in the page
/// cache, and nothing was acknowledged.
pub(crate) fn killed_at_datasync(dir: &Path, output: &Path, sync: usize) -> Command {
    let mut command =
        tracing(dir, output, &["-e", &format!("inject=fdatasync:signal=KILL:when={sync}")]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn tracing(dir: &Path, output: &Path, args: &[&str]) -> Command {
    let all = ["-yy", "-xx", "-s", "16000000", "-e", CALLS];
    let mut command = strace(output, [&all, args].concat());
    command.args(["--listen=127.0.0.1:0", "--data-dir"]).arg(dir.join("data"));
    command
}

/// The output of strace, once the server's end is in it.
pub(crate) fn complete(output: &Path) -> String {
    let whole = until(PATIENCE, || {
        let text = fs::read_to_string(output).unwrap_or_default();
        // The first line is the main thread's.
        let main = text.split_whitespace().next().unwrap_or("-");
        let ended = |line: &str| {
            line.split_once(' ')
                .is_some_and(|(pid, rest)| pid == main && rest.trim_start().starts_with("+++ "))
        };
        (text.ends_with('\n') && text.lines().rev().take(200).any(ended)).then_some(text)
    });
    whole.expect("strace writes the server's end")
}
