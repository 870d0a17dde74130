//! The servers under test: stores filled with a history, and veche over them.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use veche::model::{MessageText, Session, SessionId, StoreId, Timestamp, Username};
use veche::store::{Backend, MemoryStore, NewMessage, NewUser, export};

use crate::Result;
use crate::bare;
use crate::client::{Client, Tokens};
use crate::process::{Process, Server};
use crate::wrk::{Load, TEXT};

/// The longest time for an import, and for a start that includes one.
const IMPORT_WITHIN: Duration = Duration::from_mins(2);
/// The time of the first message of a history, in milliseconds since 1970.
const BEGINNING: u64 = 1_700_000_000_000;

/// Each kind of store with a short and a long history.
pub(crate) struct Stores {
    memory: Store,
    sled: Store,
    memory_long: Store,
    pub(crate) sled_long: Store,
}

impl Stores {
    pub(crate) fn fill(dir: &Path, short: u64, long: u64) -> Result<Stores> {
        let (short, long) = (History::write(dir, short)?, History::write(dir, long)?);
        Ok(Stores {
            memory: Store::create(Kind::Memory, dir.join("memory"), &short)?,
            sled: Store::create(Kind::Sled, dir.join("sled"), &short)?,
            memory_long: Store::create(Kind::Memory, dir.join("memory-long"), &long)?,
            sled_long: Store::create(Kind::Sled, dir.join("sled-long"), &long)?,
        })
    }

    pub(crate) fn serve(&self) -> Result<Subjects> {
        let memory = Subject::start(&self.memory)?;
        let (page, receipt) = (memory.rehearse(&Load::NEWEST)?, memory.rehearse(&Load::post())?);
        let server = bare::start(page, receipt)?;
        let resident = server.resident()?;
        let bare = Subject { server, tokens: memory.tokens.clone(), resident };
        Ok(Subjects {
            bare,
            memory,
            sled: Subject::start(&self.sled)?,
            memory_long: Subject::start(&self.memory_long)?,
            sled_long: Subject::start(&self.sled_long)?,
        })
    }
}

/// The servers, which run from the first measurement to the last: an idle one costs the others
/// nothing measurable.
pub(crate) struct Subjects {
    pub(crate) bare: Subject,
    pub(crate) memory: Subject,
    pub(crate) sled: Subject,
    pub(crate) memory_long: Subject,
    pub(crate) sled_long: Subject,
}

impl Subjects {
    /// Stops the servers; an error unless each veche stops cleanly.
    pub(crate) fn stop(self) -> Result<()> {
        let Subjects { bare, memory, sled, memory_long, sled_long } = self;
        bare.server.kill()?;
        [memory, sled, memory_long, sled_long]
            .into_iter()
            .try_for_each(|subject| subject.server.stop())
    }
}

/// A server and its clients' tokens.
pub(crate) struct Subject {
    pub(crate) server: Server,
    pub(crate) tokens: Tokens,
    /// Bytes resident before the first request, so that no password hash is included.
    pub(crate) resident: u64,
}

impl Subject {
    /// Starts veche over `store` and registers its users.
    pub(crate) fn start(store: &Store) -> Result<Subject> {
        let server = store.open()?;
        let resident = server.resident()?;
        let tokens = Tokens::earn(&Client::new(server.address), store.dir.join("tokens"))?;
        Ok(Subject { server, tokens, resident })
    }

    /// Sends `load` once, checks the answer and returns its size.
    pub(crate) fn rehearse(&self, load: &Load) -> Result<usize> {
        Client::new(self.server.address).rehearse(load, &self.tokens.one)
    }
}

/// The implementation of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Sled,
}

/// A store that veche can be started over.
pub(crate) struct Store {
    program: PathBuf,
    kind: Kind,
    dir: PathBuf,
    /// The file that the memory store imports at every start.
    history: Option<PathBuf>,
}

impl Store {
    /// A store in the new directory `dir`, with the messages of `history`.
    pub(crate) fn create(kind: Kind, dir: PathBuf, history: &History) -> Result<Store> {
        let mut store = Store::empty(built_now().into(), kind, dir)?;
        match kind {
            Kind::Memory => store.history = Some(history.file.clone()),
            Kind::Sled => {
                let mut command = store.veche();
                command.arg("import").arg("--data-dir").arg(store.data_dir()).arg(&history.file);
                let status = Process::spawn(&mut command)?.wait(IMPORT_WITHIN)?;
                if !status.success() {
                    return Err(format!("{command:?} ended with {status}").into());
                }
            }
        }
        Ok(store)
    }

    /// A store in the new directory `dir`, without a message, for the veche at `program`.
    pub(crate) fn empty(program: PathBuf, kind: Kind, dir: PathBuf) -> Result<Store> {
        fs::create_dir(&dir)?;
        Ok(Store { program, kind, dir, history: None })
    }

    /// Starts veche over it.
    pub(crate) fn open(&self) -> Result<Server> {
        self.open_with(&[])
    }

    /// The same with additional arguments, which earlier builds need not support.
    pub(crate) fn open_with(&self, arguments: &[&str]) -> Result<Server> {
        let mut command = self.veche();
        command.args(arguments);
        command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(self.data_dir());
        match self.kind {
            Kind::Memory => command.args(["--store", "memory"]),
            Kind::Sled => command.args(["--store", "sled"]),
        };
        if let Some(history) = &self.history {
            command.arg("--import").arg(history);
        }
        Server::start(&mut command, IMPORT_WITHIN)
    }

    fn veche(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--log", "warn"]);
        command
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The directory that can be rebuilt from the log.
    pub(crate) fn index_dir(&self) -> PathBuf {
        self.data_dir().join("index")
    }
}

/// The veche that cargo built for this run of the bench.
pub(crate) fn built_now() -> &'static str {
    env!("CARGO_BIN_EXE_veche")
}

/// A file to import: an export of a store with only messages of 40 bytes in the general chat, or
/// with only users and their sessions.
pub(crate) struct History {
    file: PathBuf,
}

impl History {
    /// Writes one of `len` messages.
    pub(crate) fn write(dir: &Path, len: u64) -> Result<History> {
        let mut store = MemoryStore::new(StoreId(len));
        let author = NewUser {
            name: Username::parse("author")?,
            password_hash: "nobody knows the password".into(),
            created_at: Timestamp::from_millis(BEGINNING),
        };
        let from = store.create_user(author)?.ok_or("a new store has an author already")?;
        let text = MessageText::parse(TEXT.into())?;
        for second in 1..=len {
            let sent_at = Timestamp::from_millis(BEGINNING + 1000 * second);
            store.post(NewMessage { from, to: None, text: text.clone(), sent_at })?;
        }

        History::of(&mut store, dir.join(format!("history-{len}.jsonl")))
    }

    /// Writes one of this many users, each with this many sessions that do not expire.
    pub(crate) fn of_sessions(dir: &Path, users: u32, each: u32) -> Result<History> {
        let mut store = MemoryStore::new(StoreId(u64::from(each)));
        let (created_at, hash) = (Timestamp::from_millis(BEGINNING), "nobody knows the password");
        for user in 0..users {
            let name = Username::parse(&format!("user{user}"))?;
            let new = NewUser { name, password_hash: hash.into(), created_at };
            let user = store.create_user(new)?.ok_or("a new store has this user already")?;
            for number in 0..each {
                let id = (user.get() << 32 | u64::from(number)).into();
                let session = Session {
                    user,
                    id: SessionId(u128::to_be_bytes(id)),
                    created_at,
                    expires_at: Timestamp::MAX,
                    user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101".into(),
                };
                store.begin_session(session, hash)?.ok_or("a session was refused")?;
            }
        }
        History::of(&mut store, dir.join(format!("sessions-{each}.jsonl")))
    }

    fn of(store: &mut MemoryStore, file: PathBuf) -> Result<History> {
        let mut out = BufWriter::new(File::create(&file)?);
        export(store, &mut out, Timestamp::from_millis(BEGINNING), &mut ())?;
        Ok(History { file })
    }
}
