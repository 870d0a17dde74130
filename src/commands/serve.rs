//! `veche`: serves until SIGTERM or SIGINT.

use std::iter;
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use veche::api::App;
use veche::auth::secret;
use veche::auth::tokens::{SECRET_BYTES, Tokens};
use veche::cli::listen::{Listen, is_exposed};
use veche::cli::{ServeArgs, StoreArgs, StoreKind};
use veche::http::{self, Destination, Server, Supervisor};
use veche::model::{StoreId, Username};
use veche::printable;
use veche::progress::Display;
use veche::store::{Backend, LogStore, MemoryStore, Purpose};
use veche::sys::{SystemClock, SystemEntropy, random};

use super::CommandResult;
use super::import::{build, read_file, report};

/// The shortest password that is good enough for a network, in characters.
const ADVISED_PASSWORD_LENGTH: u16 = 8;

/// Interval of the messages to the service manager that the server is alive. Its limit should be at
/// least ten times as long: an idle server checks itself every six seconds.
const WATCHDOG_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) fn serve(args: &StoreArgs, serve: &ServeArgs) -> CommandResult<()> {
    if serve.restore && serve.import.is_none() {
        return Err("--restore needs --import".into());
    }
    let mut entropy = SystemEntropy::probe()?;
    raise_descriptor_limit();
    let resolve = |listen: &Listen| -> CommandResult<_> {
        let addrs = listen.candidates().map_err(|e| format!("cannot listen on {listen}: {e}"))?;
        http::first_local(&addrs).ok_or_else(|| format!("{listen} has no address").into())
    };
    let settings = http::ServerSettings {
        idle_timeout: Duration::from_secs(serve.idle_timeout),
        admin: serve.admin_listen.as_ref().map(resolve).transpose()?,
        access_log: serve.access_log.clone().map(Destination::from),
    };
    let server = Server::bind(resolve(&serve.listen)?, settings)?
        .supervised_by(SystemdSupervisor::default());
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
            "listening for the operator beyond this machine: anyone who reaches --admin-listen can \
             fetch all data"
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

    // Up to here a signal ends the process at once. A store survives that.
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

/// Warns about an operator's name that is useless so far, or dangerous.
fn advise_operator(store: &mut dyn Backend, name: &Username) -> CommandResult<()> {
    let found = store.user_named(name)?.map(|user| (user.id, user.ended_at.is_some()));
    let name = name.as_str();
    match found {
        None => log::warn!(
            "there is no user {name} yet: whoever registers the name becomes an operator"
        ),
        Some((_, true)) => log::warn!("the account of {name} is deleted: nobody is this operator"),
        Some((id, false)) if store.account_block(id)?.is_some() => {
            log::warn!("{name} is blocked until another operator unblocks them");
        }
        Some(_) => {}
    }
    Ok(())
}

/// The process, as the server's keeper: notifies systemd, if that has started it, and exits.
#[derive(Default)]
struct SystemdSupervisor {
    told: Option<Instant>,
}

impl Supervisor for SystemdSupervisor {
    fn report_alive(&mut self) {
        if self.told.is_none_or(|told| told.elapsed() >= WATCHDOG_INTERVAL) {
            self.told = Some(Instant::now());
            tell_manager(NotifyState::Watchdog);
        }
    }

    fn abort(&mut self) {
        printable::say("veche: the server hangs and does not stop by itself; exiting");
        exit(1);
    }
}

/// Notifies the service manager, if there is one.
fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::debug!("cannot notify the service manager: {error}");
    }
}

/// Opens the store, and imports a file into it if one is given.
fn open(
    args: &StoreArgs,
    serve: &ServeArgs,
    entropy: &mut SystemEntropy,
) -> CommandResult<Box<dyn Backend>> {
    let epoch = StoreId(u64::from_le_bytes(random(entropy)));
    let to_import = serve.import.as_deref();
    match args.store {
        StoreKind::Memory => {
            let mut store = MemoryStore::new(epoch);
            if let Some(file) = to_import {
                // The ids of an earlier run are lost, and may be above those of this file.
                let as_backup = Some(Purpose::Backup);
                let imported = read_file(file, &mut store, as_backup, entropy)?;
                report(&imported).lines().for_each(|line| log::info!("{line}"));
            }
            log::info!("store: memory; all data is lost when the server ends");
            Ok(Box::new(store))
        }
        StoreKind::Sled => {
            if let Some(file) = to_import {
                let taken_for = serve.restore.then_some(Purpose::Backup);
                let imported = build(&args.data_dir, epoch, file, taken_for, entropy)?;
                report(&imported).lines().for_each(|line| log::info!("{line}"));
            }
            let mut store = LogStore::open(&args.data_dir, epoch, &mut Display::default())?;
            store.keep_free(serve.min_free_space);
            log::info!("store: sled, in {}", args.data_dir.display());
            Ok(Box::new(store))
        }
    }
}

/// A connection takes two descriptors, and the usual limit is 1,024.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        log::warn!("cannot raise the limit on open files: {error}");
    }
}
