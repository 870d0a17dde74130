//! A server with an account, and the front before it if there is one.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::client::Client;
use crate::front::{Front, Limits, Nginx};
use crate::levels::Levels;
use crate::neighbour;
use crate::server::{Server, until, veche};

/// The way from clients to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Direct,
    Nginx,
}

/// The idle timeout of veche, in seconds. Behind the front, which keeps connections of its own, it
/// is the default.
pub(crate) const IDLE_TIMEOUT: &str = "15";

pub(crate) struct Stage {
    // Ends before the server behind it.
    front: Option<Front>,
    pub(crate) server: Server,
    /// Logged in, and connected to the server itself.
    pub(crate) ann: Client,
    /// The levels of the server before any client came.
    pub(crate) levels: Levels,
}

impl Stage {
    /// Sets the stage, with everything in `dir`; `None` if there is no nginx.
    pub(crate) fn set(way: Way, store: &str, dir: &Path) -> Option<Stage> {
        Stage::set_with(way, store, dir, &[])
    }

    /// The same with additional arguments for the server.
    pub(crate) fn set_with(way: Way, store: &str, dir: &Path, args: &[&str]) -> Option<Stage> {
        let nginx = match way {
            Way::Direct => None,
            Way::Nginx => Some(Nginx::find()?),
        };
        let mut command = veche();
        command.args(["--listen", "127.0.0.1:0", "--store", store, "--data-dir"]);
        command.arg(dir.join("data")).args(args);
        // The cases guess a password more often than one address may.
        command.env("VECHE_LOGIN_LIMIT", "off").env("VECHE_TRUST_PROXY", "127.0.0.1");
        if way == Way::Direct {
            command.env("VECHE_IDLE_TIMEOUT", IDLE_TIMEOUT);
        }
        let server = Server::spawn(&mut command, dir);
        let ann = Client::signed_up(&server, "ann");
        let levels = Levels::of(&server);
        let front = nginx.map(|nginx| Front::start(&nginx, server.addr(), dir, Limits::Raised));
        Some(Stage { front, server, ann, levels })
    }

    /// The address for clients.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.front.as_ref().map_or_else(|| self.server.addr(), Front::plain)
    }

    /// Fails the test unless a neighbour is served well in `requests` requests.
    pub(crate) fn serves(&self, requests: usize, meanwhile: &str) {
        neighbour::visit(self.addr(), self.ann.token(), requests).check(meanwhile);
    }

    /// Waits until a client is served, which making many pages can delay.
    pub(crate) fn is_served_within(&self, patience: Duration, meanwhile: &str) {
        let ann = Client::new(&self.server).with_token(self.ann.token());
        let served = until(patience, || {
            ann.try_get("/api/users/me").is_ok_and(|it| it.status == 200).then_some(())
        });
        assert!(served.is_some(), "{meanwhile}: nobody is served");
    }

    /// Fails the test unless threads and descriptors return to their levels.
    pub(crate) fn has_recovered(&self, leaked: usize, what: &str) {
        self.levels.return_to(&self.server, leaked, what);
    }

    /// The messages of the general chat.
    pub(crate) fn messages(&self) -> Vec<Value> {
        // Her existing connection may have been idle for too long.
        let ann = Client::new(&self.server).with_token(self.ann.token());
        ann.follow("/api/messages", 1000).0
    }
}
