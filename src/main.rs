//! The program: reads the arguments, sets up the log, runs a command, and exits with its code.

mod commands;

use std::io::{self, Write as _};
use std::panic;
use std::process::ExitCode;
use std::thread;

use log::Record;

use veche::cli::{Cli, Command};
use veche::printable::{self, Printable};
use veche::sys::keep_files_private;

use commands::{backup, docs_check, export, import, maintenance, serve};

/// The exit code for wrong arguments, as with clap.
const USAGE_ERROR: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            printable::say_lines(error.to_string().trim_end());
            return ExitCode::from(USAGE_ERROR);
        }
        // Help and version need no escapes: they hold no input.
        Err(help) => help.exit(),
    };
    keep_files_private();
    return_large_blocks();
    env_logger::Builder::new()
        .filter_level(cli.store.log)
        // sled logs only its own internals at the level of information. Errors of tiny_http reach
        // the loop, which knows which of them matter.
        .filter_module("sled", cli.store.log.min(log::LevelFilter::Warn))
        .filter_module("tiny_http", log::LevelFilter::Off)
        .format(log_line)
        .init();
    panic::set_hook(Box::new(|info| {
        // tiny_http's threads have no names. A panic of theirs ends one connection, or accepting,
        // which the server notices.
        let level = thread::current().name().map_or(log::Level::Debug, |_| log::Level::Error);
        log::log!(level, "{info}");
    }));
    let done = match &cli.command {
        None => serve::serve(&cli.store, &cli.serve),
        Some(Command::Export { file, backup }) => export::export(&cli.store, file, *backup),
        Some(Command::Import { file, restore }) => import::import(&cli.store, file, *restore),
        Some(Command::Backup { url, file }) => backup::backup(url, file),
        Some(Command::Check) => maintenance::check(&cli.store),
        Some(Command::Compact) => maintenance::compact(&cli.store),
        Some(Command::DocsCheck { url, yes }) => return docs_check::docs_check(url, *yes),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            printable::say(format_args!("veche: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line of the log as `env_logger` does, with the text escaped.
fn log_line(line: &mut env_logger::fmt::Formatter, record: &Record<'_>) -> io::Result<()> {
    let (time, level) = (line.timestamp_seconds(), record.level());
    let style = line.default_level_style(level);
    let (target, said) = (Printable(record.target()), Printable(record.args()));
    writeln!(line, "[{time} {style}{level:<5}{style:#} {target}] {said}")
}

/// Makes the allocator return blocks of 1 MiB and more to the system as soon as they are free. By
/// default glibc raises that threshold to the largest block it has seen. A password hash uses a
/// block of 19 MiB, so after 20 registrations a server kept 235 MB.
fn return_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const MEBIBYTE: libc::c_int = 1024 * 1024;
        #[expect(unsafe_code, reason = "there is no safe way to ask the allocator for it")]
        // SAFETY: the call takes two numbers, and no other thread is there yet to allocate
        // meanwhile.
        let taken = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MEBIBYTE) };
        debug_assert_eq!(taken, 1);
    }
}
