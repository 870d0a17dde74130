//! The time to open a sled store, in each of the states it can be left in.

use std::fs;

use crate::Result;
use crate::client::{Client, NAME};
use crate::process::Server;
use crate::report::{Report, Spread, Target};
use crate::subject::Store;
use crate::wrk::Load;

/// Messages posted before each kill.
const POSTS: usize = 100;

/// Opens the store, which no server must have open, `times` times in each state.
pub(crate) fn measure(report: &mut Report, store: &Store, times: usize) -> Result<()> {
    let (mut stopped, mut killed, mut rebuilt) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        let server = store.open()?;
        stopped.push(server.opened_in.as_secs_f64());

        let last = post(&server)?;
        server.kill()?;
        let server = open_with(store, last)?;
        killed.push(server.opened_in.as_secs_f64());

        server.stop()?;
        fs::remove_dir_all(store.index_dir())?;
        let server = open_with(store, last)?;
        rebuilt.push(server.opened_in.as_secs_f64());
        server.stop()?;
    }
    report.measure(
        "sled: opening after a clean stop",
        Target::AtMost(1.0),
        " s",
        Spread::of(stopped),
    );
    report.measure("sled: opening after a kill -9", Target::AtMost(1.0), " s", Spread::of(killed));
    report.measure(
        "sled: opening without its index",
        Target::AtMost(15.0),
        " s",
        Spread::of(rebuilt),
    );
    Ok(())
}

/// Posts some messages and returns the id of the last.
fn post(server: &Server) -> Result<u64> {
    let client = Client::new(server.address);
    let token = client.log_in(NAME)?;
    let load = Load::post();
    for _ in 0..POSTS {
        client.rehearse(&load, &token)?;
    }
    client.newest_id(&token)
}

/// Opens the store; an error unless message `newest` is the newest there, so that a store cannot be
/// fast by losing messages.
fn open_with(store: &Store, newest: u64) -> Result<Server> {
    let server = store.open()?;
    let client = Client::new(server.address);
    let found = client.newest_id(&client.log_in(NAME)?)?;
    if found == newest {
        Ok(server)
    } else {
        Err(format!("opened with newest message {found}, but {newest} was acknowledged").into())
    }
}
