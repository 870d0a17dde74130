//! `GET /backup`: a copy of the store on its context to the operator, beside everything else.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tiny_http::Response;

use crate::http::connections::deadlines::Deadlines;
use crate::http::connections::descriptors::Connections;
use crate::http::loop_message::{LoopMessage, Sender};
use crate::http::replies::writing::{ResponseWriter, write_all};
use crate::http::requests::exchange::Exchange;
use crate::http::workers::pool::{Pool, Priority, Slot};
use crate::store::Snapshot;

pub(super) const CONTENT_TYPE: &str = "application/octet-stream";

/// How much is read and sent at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// How much is sent in a second at most. Sent as fast as it goes, a backup took a third of what two
/// busy processors served, at this pace an eighth of the pages and next to nothing of the posts.
const BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;
/// How long the operator may take for as much.
const CHUNK_DEADLINE: Duration = Duration::from_secs(30);
/// How long the loop may take to say what there is to copy.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(30);

/// Sends backups, one at a time: each holds a descriptor for every file of the log.
pub(super) struct Backups {
    pool: Pool,
    context: BackupContext,
}

/// What a backup needs on its context.
#[derive(Clone)]
struct BackupContext {
    /// Who has the store.
    main_loop: Sender,
    /// Who waits for the connection to be free.
    admin: Sender,
    deadlines: Deadlines,
    connections: Connections,
}

/// Room for a backup.
pub(super) struct BackupSlot<'a>(Slot<'a>, BackupContext);

impl Backups {
    pub(super) fn start(
        main_loop: Sender,
        admin: Sender,
        deadlines: Deadlines,
        connections: Connections,
    ) -> io::Result<Backups> {
        let pool = Pool::start("backup", 1, 0, Priority::Low)?;
        Ok(Backups { pool, context: BackupContext { main_loop, admin, deadlines, connections } })
    }

    /// `None` while another one is on its context.
    pub(super) fn slot(&self) -> Option<BackupSlot<'_>> {
        self.pool.slot().map(|slot| BackupSlot(slot, self.context.clone()))
    }
}

impl BackupSlot<'_> {
    /// Answers with a backup, however long it takes, and ends the connection.
    pub(super) fn send(self, exchange: Exchange) {
        let BackupSlot(slot, context) = self;
        let (pipeline, request) = (exchange.pipeline(), exchange.request);
        let peer = pipeline.peer;
        slot.submit(move || {
            match context.snapshot() {
                Ok(Some(snapshot)) => {
                    let length = snapshot.length();
                    log::info!("sending a backup of {length} bytes to {peer}");
                    match context.copy(snapshot, request.into_writer(), peer) {
                        Ok(()) => log::info!("the backup is sent"),
                        Err(error) => log::warn!("sending the backup failed: {error}"),
                    }
                }
                Ok(None) => refuse(request, 404, "a memory store has nothing to be copied\n"),
                Err(why) => {
                    log::warn!("making the backup failed: {why}");
                    refuse(request, 503, "no backup can be made; the log says why\n");
                }
            }
            // Whether all was sent, its length has said.
            context.connections.shut_down_all(peer);
            context.admin.send(LoopMessage::Ended(pipeline));
        });
    }
}

impl BackupContext {
    fn snapshot(&self) -> Result<Option<Snapshot>, String> {
        let (wanted, made) = mpsc::channel();
        self.main_loop.send(LoopMessage::Snapshot(wanted));
        let made = made.recv_timeout(SNAPSHOT_DEADLINE).map_err(|e| e.to_string())?;
        made.map_err(|e| e.to_string())
    }

    fn copy(
        &self,
        mut snapshot: Snapshot,
        mut to: ResponseWriter,
        peer: SocketAddr,
    ) -> io::Result<()> {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            snapshot.length()
        );
        write_all(&mut to, head.as_bytes())?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let (begun, mut sent) = (Instant::now(), 0);
        loop {
            let len = snapshot.read(&mut chunk)?;
            if len == 0 {
                return Ok(());
            }
            let deadline = self.deadlines.watch(peer, CHUNK_DEADLINE);
            write_all(&mut to, &chunk[..len])?;
            drop(deadline);
            sent += len as u64;
            let due = Duration::from_millis(sent * 1000 / BYTES_PER_SECOND);
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    }
}

fn refuse(request: tiny_http::Request, status: u16, why: &str) {
    // Who asked may have gone.
    let _ = request.respond(Response::from_string(why).with_status_code(status));
}
