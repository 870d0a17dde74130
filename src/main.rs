//! Arguments to store, store to server, server to exit code.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::iter;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic;
use std::path::Path;
use std::process::{ExitCode, exit};
use std::thread;
use std::time::{Duration, Instant};

use log::Record;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use veche::api::App;
use veche::auth::secret;
use veche::auth::tokens::{SECRET_BYTES, Tokens};
use veche::backup::PATIENCE;
use veche::cli::listen::{Listen, is_exposed};
use veche::cli::{Cli, Command, ServeArgs, StoreArgs, StoreKind};
use veche::docs::address::Address;
use veche::docs::check::{self, DocsCheck, Report as _};
use veche::docs::plan::Plan;
use veche::http::{self, Destination, Keeper, Server};
use veche::model::{StoreId, Username};
use veche::printable::{self, Printable};
use veche::progress::{Display, Lines};
use veche::store::{
    self, Backend, Compaction, ExportOrigin, Imported, LogStore, MemoryStore, Purpose,
    TransferError,
};
use veche::sys::{Clock as _, SystemClock, SystemEntropy, keep_files_private, random};

/// A password shorter than this should not be good enough for a network.
const ADVISED_PASSWORD_LENGTH: u16 = 8;

/// How often the service manager is told that the server lives. Its patience should be ten times
/// as long at least: an idle server asks itself every six seconds.
const WATCHDOG_INTERVAL: Duration = Duration::from_secs(1);

/// The exit code for arguments that make no sense, as clap has it.
const USAGE_ERROR: u8 = 2;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            printable::say_lines(error.to_string().trim_end());
            return ExitCode::from(USAGE_ERROR);
        }
        // Help and version are our own words.
        Err(help) => help.exit(),
    };
    keep_files_private();
    return_large_blocks();
    env_logger::Builder::new()
        .filter_level(cli.store.log)
        // What sled has to say at the level of information is about itself; what tiny_http has
        // to say at any reaches the loop as an error, which knows whether it is one.
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
        None => serve(&cli.store, &cli.serve),
        Some(Command::Export { file, backup }) => export(&cli.store, file, *backup),
        Some(Command::Import { file, restore }) => import(&cli.store, file, *restore),
        Some(Command::Backup { url, file }) => backup(url, file),
        Some(Command::Check) => check_store(&cli.store),
        Some(Command::Compact) => compact(&cli.store),
        Some(Command::DocsCheck { url, yes }) => return docs_check(url, *yes),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            printable::say(format_args!("veche: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// A line of the log, as `env_logger` writes it, but that what was logged is printable.
fn log_line(line: &mut env_logger::fmt::Formatter, record: &Record<'_>) -> io::Result<()> {
    let (time, level) = (line.timestamp_seconds(), record.level());
    let style = line.default_level_style(level);
    let (target, said) = (Printable(record.target()), Printable(record.args()));
    writeln!(line, "[{time} {style}{level:<5}{style:#} {target}] {said}")
}

fn serve(args: &StoreArgs, serve: &ServeArgs) -> Outcome<()> {
    if serve.restore && serve.import.is_none() {
        return Err("--restore says how --import is meant, which is not given".into());
    }
    let mut entropy = SystemEntropy::probe()?;
    raise_descriptor_limit();
    let resolve = |listen: &Listen| -> Outcome<_> {
        let addrs = listen.candidates().map_err(|e| format!("cannot listen on {listen}: {e}"))?;
        http::first_of_ours(&addrs).ok_or_else(|| format!("{listen} has no address").into())
    };
    let settings = http::ServerSettings {
        idle_timeout: Duration::from_secs(serve.idle_timeout),
        admin: serve.admin_listen.as_ref().map(resolve).transpose()?,
        access_log: serve.access_log.clone().map(Destination::from),
    };
    let server = Server::bind(resolve(&serve.listen)?, settings)?.kept_by(Process::default());
    let mut store = open(args, serve, &mut entropy)?;
    let secret = match (&serve.jwt_secret_file, args.store) {
        (Some(file), _) => secret::read(file)?,
        (None, StoreKind::Sled) => {
            secret::read_or_create(&args.data_dir.join("jwt-secret"), &mut entropy)?
        }
        (None, StoreKind::Memory) => random::<SECRET_BYTES>(&mut entropy).to_vec(),
    };
    if server.admin_addr().is_some_and(is_exposed) {
        log::warn!(
            "listening for the operator beyond this machine: whoever reaches --admin-listen can \
             fetch all there is"
        );
    }
    if is_exposed(server.local_addr()) && serve.min_password_length < ADVISED_PASSWORD_LENGTH {
        log::warn!(
            "listening beyond this machine, but passwords of {} characters can be registered; \
             --min-password-length {ADVISED_PASSWORD_LENGTH} is advised",
            serve.min_password_length
        );
    }
    for operator in &serve.operator {
        advise_operator(&mut *store, operator.name())?;
    }
    let tokens = Tokens::new(&secret, serve.token_ttl, store.store_id());
    let app = App::new(store, tokens, Box::new(SystemClock), Box::new(entropy), serve.settings());

    // Until here a signal ends the process at once, which a store survives.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let stopper = server.stopper();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            tell_manager(NotifyState::Stopping);
            stopper.stop();
        }
    })?;
    let addrs = iter::once(server.local_addr()).chain(server.admin_addr());
    for addr in addrs {
        printable::print(addr)?;
    }
    tell_manager(NotifyState::Ready);
    server.run(app)?;
    log::info!("stopped");
    Ok(())
}

/// Says what makes a name that was given useless so far, or dangerous.
fn advise_operator(store: &mut dyn Backend, name: &Username) -> Outcome<()> {
    let found = store.user_named(name)?.map(|user| (user.id, user.ended_at.is_some()));
    let name = name.as_str();
    match found {
        None => log::warn!("nobody is called {name} yet: who registers the name is an operator"),
        Some((_, true)) => log::warn!("the account of {name} has ended: nobody is this operator"),
        Some((id, false)) if store.account_block(id)?.is_some() => {
            log::warn!("{name} is blocked, until another operator lets them in");
        }
        Some(_) => {}
    }
    Ok(())
}

/// The process, as the server's keeper: it tells systemd, where that has started it, and ends.
#[derive(Default)]
struct Process {
    told: Option<Instant>,
}

impl Keeper for Process {
    fn beat(&mut self) {
        if self.told.is_none_or(|told| told.elapsed() >= WATCHDOG_INTERVAL) {
            self.told = Some(Instant::now());
            tell_manager(NotifyState::Watchdog);
        }
    }

    fn give_up(&mut self) {
        printable::say("veche: the server hangs, and does not stop by itself: ending it");
        exit(1);
    }
}

/// Tells the service manager, if there is one.
fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::debug!("the service manager cannot be told: {error}");
    }
}

/// Opens the store that is to be served.
fn open(
    args: &StoreArgs,
    serve: &ServeArgs,
    entropy: &mut SystemEntropy,
) -> Outcome<Box<dyn Backend>> {
    let epoch = StoreId(u64::from_le_bytes(random(entropy)));
    let to_import = serve.import.as_deref();
    match args.store {
        StoreKind::Memory => {
            let mut store = MemoryStore::new(epoch);
            if let Some(file) = to_import {
                // What it gave out in an earlier run is lost, and may be behind this file.
                let as_backup = Some(Purpose::Backup);
                let imported = read_file(file, &mut store, as_backup, entropy)?;
                told(&imported).lines().for_each(|line| log::info!("{line}"));
            }
            log::info!("store: memory; everything is forgotten when the server ends");
            Ok(Box::new(store))
        }
        StoreKind::Sled => {
            if let Some(file) = to_import {
                let taken_for = serve.restore.then_some(Purpose::Backup);
                let imported = build(&args.data_dir, epoch, file, taken_for, entropy)?;
                told(&imported).lines().for_each(|line| log::info!("{line}"));
            }
            let mut store = LogStore::open(&args.data_dir, epoch, &mut Display::default())?;
            store.keep_free(serve.min_free_space);
            log::info!("store: sled, in {}", args.data_dir.display());
            Ok(Box::new(store))
        }
    }
}

fn export(args: &StoreArgs, file: &Path, as_backup: bool) -> Outcome<()> {
    if args.store == StoreKind::Memory {
        return Err("a memory store lives in its server only: there is nothing to export".into());
    }
    if !LogStore::exists(&args.data_dir)? {
        return Err(format!("there is no store in {}", args.data_dir.display()).into());
    }
    let mut store = LogStore::open(&args.data_dir, StoreId(0), &mut Display::default())?;
    let mut out: Box<dyn Write> = if file == Path::new("-") {
        Box::new(BufWriter::new(printable::raw_output()?))
    } else {
        let created = File::options().write(true).create_new(true).mode(0o600).open(file);
        Box::new(BufWriter::new(created.map_err(|e| format!("{}: {e}", file.display()))?))
    };
    let purpose = if as_backup { Purpose::Backup } else { Purpose::Move };
    let origin = ExportOrigin { store_id: store.store_id(), purpose };
    let (cut, progress) = (SystemClock.now(), &mut Display::default());
    let summary = store::export_as(origin, &mut store, &mut out, cut, progress)?;
    printable::say(format_args!("exported {}: {summary}", purpose.name()));
    Ok(())
}

fn import(args: &StoreArgs, file: &Path, restore: bool) -> Outcome<()> {
    let mut entropy = SystemEntropy::probe()?;
    let epoch = StoreId(u64::from_le_bytes(random(&mut entropy)));
    let taken_for = restore.then_some(Purpose::Backup);
    match args.store {
        StoreKind::Memory => {
            let store = &mut MemoryStore::new(epoch);
            let imported = read_file(file, store, taken_for, &mut entropy)?;
            let what = purpose(&imported).name();
            printable::say(format_args!("verified {what}: {}", imported.summary));
        }
        StoreKind::Sled => {
            let imported = build(&args.data_dir, epoch, file, taken_for, &mut entropy)?;
            printable::say_lines(told(&imported));
        }
    }
    Ok(())
}

/// What a file was taken for.
fn purpose(imported: &Imported) -> Purpose {
    if imported.renewal.is_some() { Purpose::Backup } else { Purpose::Move }
}

/// What is said of an import, the digest last.
fn told(imported: &Imported) -> String {
    let Imported { summary, origin, renewal } = imported;
    let what = purpose(imported).name();
    match renewal {
        Some(renewal) => format!("{renewal}\nrestored {what}: {summary}"),
        None => format!("epoch {} and its ids go on\nimported {what}: {summary}", origin.store_id),
    }
}

fn backup(url: &str, file: &Path) -> Outcome<()> {
    let address = Address::parse(url).map_err(|why| format!("{url:?} is no address: {why}"))?;
    let progress = &mut Display::default();
    let summary = veche::backup::fetch(address.as_str(), file, PATIENCE, progress)?;
    printable::say(format_args!("backed up {summary}"));
    Ok(())
}

fn check_store(args: &StoreArgs) -> Outcome<()> {
    if args.store == StoreKind::Memory {
        return Err("a memory store lives in its server only: there is nothing to check".into());
    }
    let check = store::check(&args.data_dir, &mut Display::default())?;
    printable::print(&check)?;
    if check.is_sound() { Ok(()) } else { Err("the store is damaged".into()) }
}

fn compact(args: &StoreArgs) -> Outcome<()> {
    if args.store == StoreKind::Memory {
        return Err("a memory store lives in its server only: there is nothing to compact".into());
    }
    let Compaction { before, after } =
        store::compact(&args.data_dir, SystemClock.now(), &mut Display::default())?;
    printable::say(format_args!("compacted the log from {before} to {after} bytes"));
    Ok(())
}

/// 0 if nothing differs, 1 if something does or nobody answers, 2 if it was not told to go on.
fn docs_check(url: &str, yes: bool) -> ExitCode {
    let done = Address::parse(url).map_err(|why| (2, format!("{url:?} is no address: {why}")));
    match done.and_then(|address| check_docs(address, yes).map_err(|e| (1, e.to_string()))) {
        Ok(code) => code,
        Err((code, why)) => {
            printable::say(format_args!("veche: {why}"));
            ExitCode::from(code)
        }
    }
}

fn check_docs(address: Address, yes: bool) -> Outcome<ExitCode> {
    let plan = Plan::make()?;
    let mark = check::mark(&mut SystemEntropy::probe()?);
    let mut lines = Lines::new("checking", plan.cases());
    lines.line(&plan.announcement(&address, &mark))?;
    if !yes {
        lines.line("Nothing has been written. With --yes it goes on.")?;
        return Ok(ExitCode::from(2));
    }
    let summary = DocsCheck::new(address, mark, &mut lines).run(&plan)?;
    Ok(if summary.differing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build(
    data_dir: &Path,
    epoch: StoreId,
    file: &Path,
    taken_for: Option<Purpose>,
    entropy: &mut SystemEntropy,
) -> Outcome<Imported> {
    LogStore::build(data_dir, epoch, |store| read_file(file, store, taken_for, entropy))
}

/// Reads an export, a backup, or the copy of a data directory.
fn read_file(
    file: &Path,
    store: &mut dyn Backend,
    taken_for: Option<Purpose>,
    entropy: &mut SystemEntropy,
) -> Outcome<Imported> {
    let named = |e: &dyn Error| format!("{}: {e}", file.display());
    let (source, len): (Box<dyn BufRead>, _) = if file == Path::new("-") {
        (Box::new(io::stdin().lock()), None)
    } else if file.is_dir() {
        let (copy, len) = snapshot(file)?;
        (Box::new(BufReader::new(copy)), Some(len))
    } else {
        let file = File::open(file).map_err(|e| named(&e))?;
        let len = file.metadata().map_err(|e| named(&e))?.len();
        (Box::new(BufReader::new(file)), Some(len))
    };
    let progress = &mut Display::default();
    let draw = &mut || u64::from_le_bytes(random(entropy));
    let imported = store::restore(source, len, store, taken_for, draw, progress);
    imported.map_err(|error| match error {
        TransferError::Store(error) => error.into(),
        of_the_file => named(&of_the_file).into(),
    })
}

/// The backup that a server of the store in `dir` would send. Opened as by a start: what a crash
/// has left half-written is put right.
fn snapshot(dir: &Path) -> Outcome<(impl Read + 'static, u64)> {
    let nothing = || format!("there is no store in {}", dir.display());
    if !LogStore::exists(dir)? {
        return Err(nothing().into());
    }
    let store = LogStore::open(dir, StoreId(0), &mut Display::default())?;
    let snapshot = store.snapshot()?.ok_or_else(nothing)?;
    let len = snapshot.length();
    Ok((snapshot, len))
}

/// Has the allocator give blocks from a mebibyte on back to the system as soon as they are free.
/// By itself glibc raises that threshold to the size of the largest it has seen, which is what a
/// password hash works in, 19 MiB: after 20 registrations a server kept 235 MB.
fn return_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const MEBIBYTE: libc::c_int = 1024 * 1024;
        #[expect(unsafe_code, reason = "there is no safe way to ask the allocator for it")]
        // SAFETY: it takes two numbers, and no other thread is there yet to allocate meanwhile.
        let taken = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MEBIBYTE) };
        debug_assert_eq!(taken, 1);
    }
}

/// A connection takes two descriptors, and the usual limit is 1,024.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        log::warn!("the limit on open files stays as it is: {error}");
    }
}
