//! A server whose metrics are observed.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::admin::figure;
use crate::client::Client;
use crate::server::{PATIENCE, Server, until, veche};
use crate::wire::{Wire, get};

/// A server, and the address of its metrics.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) admin: SocketAddr,
}

impl Stage {
    pub(crate) fn set(store: &str, dir: &Path) -> Stage {
        Stage::set_with(store, dir, &[])
    }

    pub(crate) fn set_with(store: &str, dir: &Path, args: &[&str]) -> Stage {
        let args = [&["--admin-listen", "127.0.0.1:0"], args].concat();
        Stage::of(Server::start_with(store, dir, &args))
    }

    /// On sled, in a process that a shell has prepared.
    pub(crate) fn set_behind(script: &str, dir: &Path) -> Stage {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{script}; exec \"$0\" \"$@\"")]).arg(veche().get_program());
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"]);
        Stage::of(Server::spawn(command.arg(dir.join("data")), dir))
    }

    fn of(server: Server) -> Stage {
        let admin = server.admin_addr();
        Stage { server, admin }
    }

    /// Sends a request on a connection of its own.
    pub(crate) fn ask(&self, client: &Client, path: &str) -> Wire {
        let mut wire = Wire::connect(self.server.addr());
        wire.send(get(client, path));
        wire
    }

    /// Waits until a metric has this value.
    pub(crate) fn wait_for(&self, figure_name: &str, count: usize) {
        let is_so =
            || (figure(self.admin, figure_name)?.to_string() == count.to_string()).then_some(());
        let found = until(PATIENCE, is_so);
        let figure = figure(self.admin, figure_name);
        found.unwrap_or_else(|| panic!("{figure_name} is {figure:?}, and not {count}"));
    }
}
