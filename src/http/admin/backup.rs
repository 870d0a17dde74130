//! `GET /backup`: sends a copy of the store to the operator while the server works.

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

/// Bytes that are read and sent at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// Limit on the bytes sent per second. Without it, a backup took a third of the throughput of two
/// busy processors; with it, an eighth of that of pages, and almost nothing of that of posts.
const BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;
/// Time that the operator may take for one chunk.
const CHUNK_DEADLINE: Duration = Duration::from_secs(30);
/// Time that the loop may take to make a snapshot.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(30);

/// Sends backups, one at a time: each holds a descriptor for every file of the log.
pub(super) struct Backups {
    pool: Pool,
    context: BackupContext,
}

/// The handles that a backup needs.
#[derive(Clone)]
struct BackupContext {
    /// To the loop, which has the store.
    main_loop: Sender,
    /// To the listener's thread, which waits for the connection to be free.
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

    /// Room for a backup; `None` while another one is in progress.
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
                        Ok(()) => log::info!("the backup was sent"),
                        Err(error) => log::warn!("sending the backup failed: {error}"),
                    }
                }
                Ok(None) => refuse(request, 404, "a memory store cannot be backed up\n"),
                Err(why) => {
                    log::warn!("making the backup failed: {why}");
                    refuse(request, 503, "no backup can be made; the log says why\n");
                }
            }
            // The client knows from the declared length whether the backup is complete.
            context.connections.shut_down_all(peer);
            context.admin.send(LoopMessage::ConnectionEnded(pipeline));
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
    // It fails if the client has disconnected.
    let _ = request.respond(Response::from_string(why).with_status_code(status));
}
