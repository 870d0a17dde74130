//! Every way in which a sled store's server ends and begins again.

use std::fs;
use std::path::Path;

use crate::server::{Server, run, veche};

/// The end of a server, and what is done to its store until the next start.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Restart {
    Kill,
    KillAndLossOfTheIndex,
    StopAndCompaction,
    StopAndImportOfAnExport,
    Stop,
}

impl Restart {
    pub(crate) const ALL: [Restart; 5] = [
        Restart::Kill,
        Restart::KillAndLossOfTheIndex,
        Restart::StopAndCompaction,
        Restart::StopAndImportOfAnExport,
        Restart::Stop,
    ];

    /// Ends a server whose store is in `dir`, and starts another one on it, which is sound.
    pub(crate) fn run(self, server: Server, dir: &Path, args: &[&str]) -> Server {
        let data = dir.join("data");
        let run_on_store = |words: &[&str], file: Option<&Path>| {
            let done = run(veche().args(words).arg("--data-dir").arg(&data).args(file));
            assert!(done.status.success(), "{self:?}: {done:?}");
        };
        match self {
            Restart::Kill | Restart::KillAndLossOfTheIndex => server.kill(),
            _ => server.stop(),
        }
        match self {
            Restart::KillAndLossOfTheIndex => fs::remove_dir_all(data.join("index")).unwrap(),
            Restart::StopAndCompaction => run_on_store(&["compact"], None),
            Restart::StopAndImportOfAnExport => {
                let file = dir.join("chat.jsonl");
                run_on_store(&["export"], Some(&file));
                for part in ["log", "index"] {
                    fs::remove_dir_all(data.join(part)).unwrap();
                }
                run_on_store(&["import"], Some(&file));
            }
            Restart::Kill | Restart::Stop => {}
        }
        run_on_store(&["check"], None);
        Server::start_with("sled", dir, args)
    }
}
