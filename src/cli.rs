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

/// What is kept free on the disk unless it is said otherwise: room to stop in good order, and for
/// the operator to see to it.
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
    /// Where the chat is kept.
    #[command(flatten)]
    pub store: StoreArgs,
    /// How it is served.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What a build is: which sources it is made of, and what it can read.
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
    /// Reads the process's arguments and environment. No help shows what is in the environment: it may
    /// be anything, and goes to a terminal.
    pub fn read() -> Result<Cli, clap::Error> {
        let command = without_empty_variables(Cli::command());
        let command = command.mut_args(|arg| arg.hide_env_values(true));
        command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches))
    }
}

/// A variable that is empty is as if it were not set: there is no other way to unset one in a unit
/// of systemd's or a file of Compose's.
fn without_empty_variables(command: Parsing) -> Parsing {
    command.mut_args(|arg| {
        let is_empty = |name| env::var_os(name).is_some_and(|value| value.is_empty());
        if arg.get_env().is_some_and(is_empty) { arg.env(None::<&'static str>) } else { arg }
    })
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a store as JSON lines, ids and password hashes included, and print a digest
    ///
    /// The server must be stopped. The file is for a move: where it is imported, the epoch and the
    /// ids go on, so the store that it is of must not. Summary and progress go to standard error.
    Export {
        /// Write it as a backup, for a store that goes on: what is restored from it begins a new
        /// epoch
        #[arg(long)]
        backup: bool,
        /// The file to write; must not exist; `-` is standard output
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Read what `export` or `backup` wrote into an empty store, and print the same digest
    ///
    /// An export moves its store. A backup is restored: a new epoch begins, its ids go on far above
    /// those of the backup, and everybody has to log in again. The store appears when it is
    /// complete. With `--store memory` the file is only verified.
    Import {
        /// Take the file for a backup, whatever it says: the store that it is of went on
        #[arg(long)]
        restore: bool,
        /// The file to read; `-` is standard input; a directory is a copy of a stopped server's
        /// data directory, and always a backup
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Fetch a backup from a running server, verify it, and print the digest of its export
    ///
    /// The file appears when it is complete. `import` restores it. Summary and progress go to
    /// standard error.
    Backup {
        /// The server's admin address: `http://127.0.0.1:5001`, say
        url: String,
        /// The file to write; must not exist
        file: PathBuf,
    },
    /// Read all of a store, say what is in it, and tell every damage by file and offset
    ///
    /// The server must be stopped. Changes nothing; a copy of the index is made in the system's
    /// directory for temporary files (`TMPDIR`). Exits with 1 if anything is damaged.
    Check,
    /// Write a store's log anew without what was erased
    ///
    /// The server must be stopped. Needs room for a second copy. Can be interrupted at any time:
    /// the store is then what it was.
    Compact,
    /// Run the documentation's examples against a running deployment, and say what differs
    ///
    /// Needs bash and curl. Registers users of its own, addresses nobody else, and leaves them and
    /// their messages behind: says first how many, and wants `--yes` for it. Exits with 1 if
    /// anything differs.
    DocsCheck {
        /// Where the deployment is: `https://chat.example.org`, say
        url: String,
        /// Write to it
        #[arg(long)]
        yes: bool,
    },
}

/// Which store, and where.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// Where the chat is kept: `memory` forgets it when the server ends
    #[arg(long, env = "VECHE_STORE", value_enum, default_value = "sled", global = true)]
    pub store: StoreKind,
    /// The directory of the sled store; made if it is not there
    #[arg(
        long,
        env = "VECHE_DATA_DIR",
        value_name = "DIR",
        default_value = "./veche-data",
        global = true
    )]
    pub data_dir: PathBuf,
    /// How much is logged, on standard error
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

/// Which implementation keeps the chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// In memory only
    Memory,
    /// On disk, durable: a write-ahead log with a sled index
    Sled,
}

/// Whether new accounts can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Registration {
    /// By everybody, until an operator closes it
    Open,
    /// By nobody
    Closed,
}

/// How the chat is served.
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
    /// How long an access token is good for, in seconds (at most a year)
    #[arg(
        long,
        env = "VECHE_TOKEN_TTL",
        value_name = "SECONDS",
        default_value_t = 3600,
        value_parser = clap::value_parser!(u64).range(1..=31_536_000)
    )]
    pub token_ttl: u64,
    /// A file with the secret that signs access tokens, 32 to 4096 bytes, every one of which counts
    ///
    /// Without it the sled store keeps a random one in its directory, and the memory store makes
    /// a new one at every start.
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
    /// Whether new accounts can be made; what is `closed` here, no operator opens
    #[arg(long, env = "VECHE_REGISTRATION", value_enum, default_value = "open")]
    pub registration: Registration,
    /// This user keeps order (repeatable): may delete messages, block users and close registration
    ///
    /// Whoever registers the name first is an operator, so register it before others can.
    #[arg(
        long,
        env = "VECHE_OPERATOR",
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = Operator::parse
    )]
    pub operator: Vec<Operator>,
    /// Let web pages of this origin use the API (repeatable), as in `https://chat.example.org`
    ///
    /// `*` stands for all. Without it browsers keep pages of other origins from reading replies.
    #[arg(
        long,
        env = "VECHE_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = Origin::parse
    )]
    pub cors_origin: Vec<Origin>,
    /// After how many seconds without a complete request a connection is closed
    #[arg(
        long,
        env = "VECHE_IDLE_TIMEOUT",
        value_name = "SECONDS",
        default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub idle_timeout: u64,
    /// Answer the operator here too: /healthz, /readyz, /metrics and /backup
    ///
    /// It asks for no token, and a backup is all there is: not for a public address.
    #[arg(
        long,
        env = "VECHE_ADMIN_LISTEN",
        value_name = "[ADDR]:PORT",
        value_parser = Listen::parse
    )]
    pub admin_listen: Option<Listen>,
    /// Append a line of JSON for each answer to this file; `-` is standard output
    #[arg(long, env = "VECHE_ACCESS_LOG", value_name = "FILE")]
    pub access_log: Option<PathBuf>,
    /// Refuse writes while fewer bytes than these are free on the disk of the sled store
    ///
    /// Reading, logging in and out and ending accounts go on, down to an eighth. 0 never refuses.
    #[arg(
        long,
        env = "VECHE_MIN_FREE_SPACE",
        value_name = "BYTES",
        default_value_t = MIN_FREE_BYTES
    )]
    pub min_free_space: u64,
    /// How many logins to an account may fail from an address: `off`, or at once and in each time
    ///
    /// 5 times as many may fail to an account from all addresses together, 10 times as many from
    /// an address to all accounts together. The time is a number of `s`, `m`, `h` or `d`.
    #[arg(
        long,
        env = "VECHE_LOGIN_LIMIT",
        value_name = "N/TIME",
        default_value = "10/m",
        value_parser = Limit::parse
    )]
    pub login_limit: Limit,
    /// How many accounts an address may register, at once and in each time, as in `5/h`
    #[arg(
        long,
        env = "VECHE_REGISTRATION_LIMIT",
        value_name = "N/TIME",
        default_value = "off",
        value_parser = Limit::parse
    )]
    pub registration_limit: Limit,
    /// How many messages a user may send, at once and in each time, as in `60/m`
    #[arg(
        long,
        env = "VECHE_MESSAGE_LIMIT",
        value_name = "N/TIME",
        default_value = "off",
        value_parser = Limit::parse
    )]
    pub message_limit: Limit,
    /// Believe this proxy or network, as in `127.0.0.1` or `10.0.0.0/8`, for whom it asks (repeatable)
    ///
    /// Clients are told apart by the last address in its `X-Forwarded-For` that is not trusted
    /// itself. Without it they are told apart by who connects, and the field means nothing.
    #[arg(
        long,
        env = "VECHE_TRUST_PROXY",
        value_name = "ADDR[/BITS]",
        value_delimiter = ',',
        value_parser = Network::parse
    )]
    pub trust_proxy: Vec<Network>,
    /// Read an export or a backup into the store, which must be empty, before serving
    #[arg(long, env = "VECHE_IMPORT", value_name = "FILE")]
    pub import: Option<PathBuf>,
    /// Take the file of `--import` for a backup, whatever it says: the store that it is of went on
    ///
    /// A memory store always does: it begins with the file again at each start.
    #[arg(
        long,
        env = "VECHE_RESTORE",
        value_parser = BoolishValueParser::new()
    )]
    pub restore: bool,
}

impl ServeArgs {
    /// What of it concerns the API.
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
