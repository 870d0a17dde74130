//! The command line.

pub mod listen;

use std::env;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use clap::{
    Args, Command as Parsing, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
};
use log::LevelFilter;

use crate::api::Settings;
use crate::api::client::{Network, Proxies};
use crate::api::cors::{Cors, Origin};
use crate::api::limits::{Limit, Limits};
use crate::api::operators::{Operator, Operators};
use crate::store::FORMATS;

use listen::Listen;

/// Default of `--min-free-space`: enough to stop in good order and for the operator to make room.
const MIN_FREE_BYTES: u64 = 64 * 1024 * 1024;

/// A REST chat server: accounts, a general chat, private messages.
///
/// Without a command it serves, until it gets SIGTERM or SIGINT. The first line on standard
/// output is the address it listens on.
#[derive(Debug, Parser)]
#[command(
    name = "veche",
    version = env!("CARGO_PKG_VERSION"),
    long_version = &**BUILD,
    args_conflicts_with_subcommands = false
)]
pub struct Cli {
    /// The store.
    #[command(flatten)]
    pub store: StoreArgs,
    /// The settings of the server.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// The command; without one, the program serves.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The build's version, commit, and the formats that it reads.
static BUILD: LazyLock<String> = LazyLock::new(|| {
    let formats: Vec<String> = FORMATS
        .iter()
        .map(|(what, versions)| match (versions.start(), versions.end()) {
            (oldest, newest) if oldest == newest => format!("{what} {newest}"),
            (oldest, newest) => format!("{what} {oldest} to {newest}"),
        })
        .collect();
    let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("VECHE_BUILD_COMMIT"));
    format!("{version}\ncommit: {commit}\nreads: {}", formats.join(", "))
});

impl Cli {
    /// Reads the process's arguments and environment. The help does not show values from the
    /// environment: they may be anything, and a terminal would obey them.
    pub fn read() -> Result<Cli, clap::Error> {
        let command = without_empty_variables(Cli::command());
        let command = command.mut_args(|arg| arg.hide_env_values(true));
        command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches))
    }
}

/// Treats an empty variable as one that is not set: a unit of systemd and a Compose file have no
/// other way to unset one.
fn without_empty_variables(command: Parsing) -> Parsing {
    command.mut_args(|arg| {
        let is_empty = |name| env::var_os(name).is_some_and(|value| value.is_empty());
        if arg.get_env().is_some_and(is_empty) { arg.env(None::<&'static str>) } else { arg }
    })
}

/// A command to run instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a store as JSON lines, with ids and password hashes, and print a digest
    ///
    /// The server must be stopped. The file is for a move: a store imported from it keeps the epoch
    /// and the ids, so the old store must not be used any more. The summary and the progress go to
    /// standard error.
    Export {
        /// Write a backup, for a store that stays in use: a store restored from it begins a new
        /// epoch
        #[arg(long)]
        backup: bool,
        /// The file to write; must not exist; `-` is standard output
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Import a file of `export` or `backup` into an empty store, and print the same digest
    ///
    /// An export moves its store. A backup is restored: a new epoch begins, the new ids are far
    /// above those of the backup, and all users have to log in again. The store appears when it is
    /// complete. With `--store memory` the file is only verified.
    Import {
        /// Treat the file as a backup, whatever it says: its store is still in use
        #[arg(long)]
        restore: bool,
        /// The file to read; `-` is standard input; a directory is a copy of a stopped server's
        /// data directory, and always a backup
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Fetch a backup from a running server, verify it, and print the digest of its export
    ///
    /// The file appears when it is complete. `import` restores it. The summary and the progress go
    /// to standard error.
    Backup {
        /// The server's admin address, as in `http://127.0.0.1:5001`
        url: String,
        /// The file to write; must not exist
        file: PathBuf,
    },
    /// Read a whole store, print what it holds, and report all damage by file and offset
    ///
    /// The server must be stopped. Changes nothing. The index is copied to the system's directory
    /// for temporary files (`TMPDIR`). Exits with 1 if anything is damaged.
    Check,
    /// Rewrite a store's log without erased texts
    ///
    /// The server must be stopped. Needs room for a second copy. Can be interrupted at any time:
    /// the store is then unchanged.
    Compact,
    /// Run the documentation's examples against a running deployment, and report differences
    ///
    /// Needs bash and curl. Registers its own users, writes to nobody else, and leaves these users
    /// and their messages behind: says first how many, and needs `--yes` to go on. Exits with 1 if
    /// anything differs.
    DocsCheck {
        /// The address of the deployment, as in `https://chat.example.org`
        url: String,
        /// Go on and write to the deployment
        #[arg(long)]
        yes: bool,
    },
}

/// The store and its place.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// The kind of store: `memory` is lost when the server ends
    #[arg(long, env = "VECHE_STORE", value_enum, default_value = "sled", global = true)]
    pub store: StoreKind,
    /// The directory of the sled store; created if it does not exist
    #[arg(
        long,
        env = "VECHE_DATA_DIR",
        value_name = "DIR",
        default_value = "./veche-data",
        global = true
    )]
    pub data_dir: PathBuf,
    /// The most detailed level that is logged, on standard error
    #[arg(
        long,
        env = "VECHE_LOG",
        value_name = "LEVEL",
        default_value = "info",
        ignore_case = true,
        value_parser = PossibleValuesParser::new(["off", "error", "warn", "info", "debug", "trace"])
            .try_map(|level| level.parse::<LevelFilter>()),
        global = true
    )]
    pub log: LevelFilter,
}

/// The kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// In memory only
    Memory,
    /// On disk, durable: a write-ahead log with a sled index
    Sled,
}

/// The policy for new accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Registration {
    /// By everybody, until an operator closes it
    Open,
    /// By nobody
    Closed,
}

/// The settings of the server.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The address and port to listen on; port 0 lets the system choose one
    ///
    /// A name such as `localhost` stands for its address, and `:5000` for every address of the
    /// machine.
    #[arg(
        long,
        env = "VECHE_LISTEN",
        value_name = "[ADDR]:PORT",
        default_value = "127.0.0.1:5000",
        value_parser = Listen::parse
    )]
    pub listen: Listen,
    /// The lifetime of an access token, in seconds (at most a year)
    #[arg(
        long,
        env = "VECHE_TOKEN_TTL",
        value_name = "SECONDS",
        default_value_t = 3600,
        value_parser = clap::value_parser!(u64).range(1..=31_536_000)
    )]
    pub token_ttl: u64,
    /// A file with the secret that signs access tokens: 32 to 4096 bytes, all of which count
    ///
    /// Without it, the sled store keeps a random secret in its directory, and the memory store
    /// makes a new one at each start.
    #[arg(long, env = "VECHE_JWT_SECRET_FILE", value_name = "FILE")]
    pub jwt_secret_file: Option<PathBuf>,
    /// The shortest password that can be registered, in characters
    #[arg(
        long,
        env = "VECHE_MIN_PASSWORD_LENGTH",
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub min_password_length: u16,
    /// The policy for new accounts; an operator cannot open what is `closed` here
    #[arg(long, env = "VECHE_REGISTRATION", value_enum, default_value = "open")]
    pub registration: Registration,
    /// A user who moderates (repeatable): may delete messages, block users and close registration
    ///
    /// The first to register the name becomes the operator, so register it before others can.
    #[arg(
        long,
        env = "VECHE_OPERATOR",
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = Operator::parse
    )]
    pub operator: Vec<Operator>,
    /// An origin whose web pages may use the API (repeatable), as in `https://chat.example.org`
    ///
    /// `*` allows all origins. Without it, browsers keep pages of other origins from reading
    /// replies.
    #[arg(
        long,
        env = "VECHE_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = Origin::parse
    )]
    pub cors_origin: Vec<Origin>,
    /// Close a connection after this many seconds without a complete request
    #[arg(
        long,
        env = "VECHE_IDLE_TIMEOUT",
        value_name = "SECONDS",
        default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub idle_timeout: u64,
    /// A second address, for the operator: /healthz, /readyz, /metrics and /backup
    ///
    /// It needs no token, and a backup holds all data: do not use a public address.
    #[arg(
        long,
        env = "VECHE_ADMIN_LISTEN",
        value_name = "[ADDR]:PORT",
        value_parser = Listen::parse
    )]
    pub admin_listen: Option<Listen>,
    /// Append a line of JSON for each response to this file; `-` is standard output
    #[arg(long, env = "VECHE_ACCESS_LOG", value_name = "FILE")]
    pub access_log: Option<PathBuf>,
    /// Refuse writes while fewer bytes than this are free on the disk of the sled store
    ///
    /// Reading, logging in and out and deleting accounts go on until only an eighth is free. 0
    /// never refuses.
    #[arg(
        long,
        env = "VECHE_MIN_FREE_SPACE",
        value_name = "BYTES",
        default_value_t = MIN_FREE_BYTES
    )]
    pub min_free_space: u64,
    /// Failed logins to an account from one address: `off`, or a number and a time, as in `10/m`
    ///
    /// So many may fail at once, and as many again in each period. For an account, 5 times as many
    /// may fail from all addresses together; for an address, 10 times as many to all accounts
    /// together. The time is a number of `s`, `m`, `h` or `d`.
    #[arg(
        long,
        env = "VECHE_LOGIN_LIMIT",
        value_name = "N/TIME",
        default_value = "10/m",
        value_parser = Limit::parse
    )]
    pub login_limit: Limit,
    /// Registrations of one address, at once and in each period, as in `5/h`
    #[arg(
        long,
        env = "VECHE_REGISTRATION_LIMIT",
        value_name = "N/TIME",
        default_value = "off",
        value_parser = Limit::parse
    )]
    pub registration_limit: Limit,
    /// Messages of one user, at once and in each period, as in `60/m`
    #[arg(
        long,
        env = "VECHE_MESSAGE_LIMIT",
        value_name = "N/TIME",
        default_value = "off",
        value_parser = Limit::parse
    )]
    pub message_limit: Limit,
    /// A proxy or network whose `X-Forwarded-For` is believed, as in `127.0.0.1` or `10.0.0.0/8`
    /// (repeatable)
    ///
    /// The client is the last address in that field that is not trusted itself. Without this option
    /// the client is the address that connects, and the field is ignored.
    #[arg(
        long,
        env = "VECHE_TRUST_PROXY",
        value_name = "ADDR[/BITS]",
        value_delimiter = ',',
        value_parser = Network::parse
    )]
    pub trust_proxy: Vec<Network>,
    /// Import this export or backup before serving; the store must be empty
    #[arg(long, env = "VECHE_IMPORT", value_name = "FILE")]
    pub import: Option<PathBuf>,
    /// Treat the file of `--import` as a backup, whatever it says: its store is still in use
    ///
    /// A memory store always does so, because it imports the file again at each start.
    #[arg(
        long,
        env = "VECHE_RESTORE",
        value_parser = BoolishValueParser::new()
    )]
    pub restore: bool,
}

impl ServeArgs {
    /// The settings of the API.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            min_password_length: usize::from(self.min_password_length),
            cors: Cors::with(self.cors_origin.clone()),
            limits: Limits {
                login: self.login_limit,
                registration: self.registration_limit,
                message: self.message_limit,
            },
            proxies: Proxies::with(self.trust_proxy.clone()),
            operators: Operators::with(&self.operator),
            registration_open: self.registration == Registration::Open,
        }
    }
}
