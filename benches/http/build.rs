//! One of the two builds that are compared, and its servers.
//!
//! The two must agree only on the options `--listen`, `--store`, `--data-dir` and `--log`, and on
//! the HTTP interface. So each fills its stores itself, through that interface; an import would
//! need more options, and one format that both can read.

use std::fs;
use std::path::Path;

use crate::client::Client;
use crate::subject::{Kind, Store, Subject};
use crate::{Result, SHORT, poster};

/// A binary and its stores.
pub(crate) struct Build {
    memory: Store,
    sled: Store,
    memory_long: Store,
    pub(crate) sled_long: Store,
    pub(crate) sled_empty: Store,
    /// The size of the file in bytes.
    pub(crate) size: u64,
}

impl Build {
    /// Stores without a message, in the new directory `dir`.
    pub(crate) fn new(program: &Path, dir: &Path) -> Result<Build> {
        fs::create_dir(dir)?;
        let store = |kind, name| Store::empty(program.to_owned(), kind, dir.join::<&str>(name));
        Ok(Build {
            memory: store(Kind::Memory, "memory")?,
            sled: store(Kind::Sled, "sled")?,
            memory_long: store(Kind::Memory, "memory-long")?,
            sled_long: store(Kind::Sled, "sled-long")?,
            sled_empty: store(Kind::Sled, "sled-empty")?,
            size: fs::metadata(program)?.len(),
        })
    }

    /// Starts a server over each store but the empty one, which is left as a server leaves it, and
    /// fills them with their histories, the long ones of `long` messages.
    pub(crate) fn serve(&self, long: u64) -> Result<Servers> {
        self.sled_empty.open()?.stop()?;
        Ok(Servers {
            memory: filled(&self.memory, SHORT)?,
            sled: filled(&self.sled, SHORT)?,
            memory_long: filled(&self.memory_long, long)?,
            sled_long: filled(&self.sled_long, long)?,
        })
    }
}

/// The servers of one build, which run from the first load to the last.
pub(crate) struct Servers {
    pub(crate) memory: Subject,
    pub(crate) sled: Subject,
    pub(crate) memory_long: Subject,
    pub(crate) sled_long: Subject,
}

impl Servers {
    /// Stops the servers; an error unless each stops cleanly.
    pub(crate) fn stop(self) -> Result<()> {
        let Servers { memory, sled, memory_long, sled_long } = self;
        [memory, sled, memory_long, sled_long]
            .into_iter()
            .try_for_each(|subject| subject.server.stop())
    }
}

/// A server over the empty `store` that has been sent `len` messages.
fn filled(store: &Store, len: u64) -> Result<Subject> {
    let mut subject = Subject::start(store)?;
    fill(&subject, len)?;
    // It includes the password hashes of the registrations, the same in every server.
    subject.resident = subject.server.resident()?;
    Ok(subject)
}

/// Posts `len` messages, and checks that they are there.
fn fill(subject: &Subject, len: u64) -> Result<()> {
    let (address, token) = (subject.server.address, &subject.tokens.one);
    poster::post(address, token, len)?;

    let newest = Client::new(address).newest_id(token)?;
    // The first message has id 0.
    if newest + 1 < len {
        return Err(format!("{len} messages were posted, but the newest has id {newest}").into());
    }
    Ok(())
}
