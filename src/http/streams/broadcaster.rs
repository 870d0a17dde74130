//! The thread that sends to subscribers, and the loop's handle on it. Neither the loop nor a worker
//! ever waits for a subscriber.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use super::chunk::{Chunk, MAX_CHUNK_BYTES};
use super::protocol::StreamCommand;
use super::subscribers::Subscribers;
use crate::http::connections::descriptors::Connections;
use crate::http::loop_message::{LoopMessage, Sender};
use crate::http::requests::exchange::Exchange;

/// Bytes of events that the thread has not taken from which on no more are sent to it.
const MAX_BACKLOG_BYTES: usize = 128 * 1024;
/// Sockets that are handled per call of `epoll_wait`.
const MAX_READY: usize = 512;
/// `epoll` data of the eventfd that announces commands; all others are stream ids.
const COMMANDS: u64 = u64::MAX;

/// The loop's handle on the thread.
pub(in crate::http) struct Broadcaster {
    commands: mpsc::Sender<StreamCommand>,
    /// Readable while commands wait.
    commands_ready: Arc<OwnedFd>,
    /// Bytes of events that the thread has not taken.
    backlog_bytes: Arc<AtomicUsize>,
    /// Bytes of all chunks in memory.
    chunk_bytes: Arc<AtomicUsize>,
}

impl Broadcaster {
    pub(in crate::http) fn start(
        connections: Connections,
        to_loop: Sender,
    ) -> io::Result<Broadcaster> {
        let commands_ready = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let chunk_bytes = Arc::<AtomicUsize>::default();
        let find = move |peers: &HashSet<SocketAddr>| connections.find_all(peers);
        let subscribers = Subscribers::new(find, &chunk_bytes, Instant::now())?;
        let data = EventData::new_u64(COMMANDS);
        epoll::add(subscribers.epoll(), &*commands_ready, data, EventFlags::IN)?;
        let (commands, receiver) = mpsc::channel();
        let backlog_bytes = Arc::<AtomicUsize>::default();
        let (ready, backlog) = (Arc::clone(&commands_ready), Arc::clone(&backlog_bytes));
        thread::Builder::new()
            .name("broadcaster".to_owned())
            .spawn(move || run(subscribers, &receiver, &ready, &backlog, &to_loop))?;
        Ok(Broadcaster { commands, commands_ready, backlog_bytes, chunk_bytes })
    }

    /// Queues a command, which is carried out after the next [`Broadcaster::notify`].
    pub(in crate::http) fn send(&self, command: StreamCommand) {
        self.backlog_bytes.fetch_add(command.event_bytes(), Ordering::Relaxed);
        // It fails only if the thread has panicked; then there are no subscribers, either.
        let _ = self.commands.send(command);
    }

    /// Wakes the thread for the queued commands.
    pub(in crate::http) fn notify(&self) {
        // It fails only if the counter is at its maximum; then the thread is notified already.
        let _ = rustix::io::write(&*self.commands_ready, &1_u64.to_ne_bytes());
    }

    /// Content for subscribers.
    pub(in crate::http) fn chunk(&self, content: &[u8]) -> Arc<Chunk> {
        Chunk::new(content, &self.chunk_bytes)
    }

    /// The head of a stream's reply.
    pub(in crate::http) fn head(&self, head: Vec<u8>) -> Arc<Chunk> {
        Chunk::head(head, &self.chunk_bytes)
    }

    /// Returns whether it takes no new events at the moment.
    pub(in crate::http) fn is_behind(&self) -> bool {
        self.backlog_bytes.load(Ordering::Relaxed) >= MAX_BACKLOG_BYTES || self.is_full()
    }

    /// Returns whether there is no memory for pages.
    pub(in crate::http) fn is_full(&self) -> bool {
        self.chunk_bytes.load(Ordering::Relaxed) >= MAX_CHUNK_BYTES
    }
}

/// Carries out the loop's commands until the loop has ended.
fn run(
    mut subscribers: Subscribers<Exchange>,
    commands: &Receiver<StreamCommand>,
    commands_ready: &OwnedFd,
    backlog_bytes: &AtomicUsize,
    to_loop: &Sender,
) {
    let mut ready = Vec::with_capacity(MAX_READY);
    loop {
        let pause = subscribers.pause(Instant::now());
        let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
        ready.clear();
        // It fails only if a signal interrupts it.
        let _ = epoll::wait(subscribers.epoll(), spare_capacity(&mut ready), pause.as_ref());
        let now = Instant::now();
        for event in &ready {
            if event.data.u64() == COMMANDS {
                let _ = rustix::io::read(commands_ready, &mut [0; 8]);
            } else {
                subscribers.on_socket_event(event.data.u64(), event.flags, now);
            }
        }
        let mut event_bytes = 0;
        loop {
            match commands.try_recv() {
                Ok(command) => {
                    event_bytes += command.event_bytes();
                    subscribers.execute(command, now);
                }
                Err(TryRecvError::Empty) => break,
                // The loop has ended, and the process ends with it.
                Err(TryRecvError::Disconnected) => return subscribers.shut_down_all(),
            }
        }
        subscribers.find_sockets(now);
        subscribers.flush(now);
        subscribers.sweep(now);
        backlog_bytes.fetch_sub(event_bytes, Ordering::Relaxed);
        subscribers.messages().for_each(|message| to_loop.send(LoopMessage::Stream(message)));
    }
}
