//! A user other than root, for tests that run as root, to whom no mode applies.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Gid, Uid, chown};

use crate::server::veche;

/// A user that runs nothing else.
const NOBODY: u32 = 64_125;

pub(crate) struct Nobody {
    id: u32,
    binary: PathBuf,
}

impl Nobody {
    /// Gives them a directory, and veche in it. `None`, with a notice, if the tests do not run as
    /// root; not in CI.
    pub(crate) fn at(dir: &Path) -> Option<Nobody> {
        let binary = dir.join("veche-of-nobody");
        let nobody = Nobody { id: NOBODY, binary };
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
        if rustix::process::getuid().is_root() {
            fs::copy(env!("CARGO_BIN_EXE_veche"), &nobody.binary).unwrap();
            nobody.give(dir);
            let version = nobody.veche().arg("--version").stdout(Stdio::null()).status();
            if version.is_ok_and(|status| status.success()) {
                return Some(nobody);
            }
        }
        assert!(env::var_os("CI").is_none(), "there is no root, or no setpriv");
        eprintln!("skipped: there is no root, or no setpriv");
        None
    }

    /// Makes a file theirs.
    pub(crate) fn give(&self, path: &Path) {
        let (user, group) = (Uid::from_raw(self.id), Gid::from_raw(self.id));
        chown(path, Some(user), Some(group)).unwrap();
    }

    /// veche as they run it.
    pub(crate) fn veche(&self) -> Command {
        let user = self.id.to_string();
        let mut command = Command::new("setpriv");
        for (name, _) in veche().get_envs() {
            command.env_remove(name);
        }
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(&self.binary);
        command.stdin(Stdio::null());
        command
    }
}
