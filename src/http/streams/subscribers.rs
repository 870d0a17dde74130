//! All subscribers, with their deadlines.
//!
//! Sending never blocks: `epoll` reports which sockets have room. A subscriber for which too much
//! is unsent, or whose socket takes nothing for long, is cut off, without effect on others; it can
//! resume after the last event that it has seen. This module has no thread and no clock of its own.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};

use super::chunk::{Chunk, MAX_CHUNK_BYTES};
use super::protocol::{
    EndedStream, StreamCommand, StreamEnd, StreamId, StreamMessage, StreamOpening, StreamSegment,
};
use super::subscriber::{Flushed, Subscriber};
use crate::api::stream::HEARTBEAT;
use crate::http::connections::descriptors::AmbiguousPeer;
use crate::http::connections::reaper::MAX_HEAD_BYTES;
use crate::http::connections::tcp_info::TcpInfo;
use crate::model::UserId;

/// Time without data after which a heartbeat is sent: proxies and clients give up a silent
/// connection after a minute or so. WHATWG HTML, section 9.2.7, recommends 15 s.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// Time for which a socket may take nothing while bytes are unsent.
const STALL_DEADLINE: Duration = Duration::from_secs(30);
/// Time that a subscriber may take for a page, however slowly it reads: all of the page is in
/// memory meanwhile, and many of them would leave no memory for others.
const PAGE_DEADLINE: Duration = Duration::from_secs(30);
/// The same while memory is short.
const SHORT_PAGE_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of all chunks from which on memory is short.
const PRESSURE_BYTES: usize = MAX_CHUNK_BYTES / 2;
/// Shortest time between two checks of heartbeats and deadlines.
const MIN_SWEEP_INTERVAL: Duration = Duration::from_millis(50);
/// Pause after a search for sockets, in multiples of its duration. With thousands of descriptors a
/// search takes milliseconds; it serves all subscribers that have come meanwhile.
const SEARCH_PAUSE_FACTOR: u32 = 4;
/// Shortest time between two searches.
const MIN_SEARCH_INTERVAL: Duration = Duration::from_millis(1);
/// Time for which several connections may have the peer of a new subscriber: one that has ended
/// disappears soon.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(1);

/// All subscribers.
pub(in crate::http) struct Subscribers<E> {
    epoll: OwnedFd,
    find: Box<Find>,
    members: HashMap<StreamId, Member<E>>,
    /// Live streams, by user.
    live: HashMap<UserId, Vec<StreamId>>,
    /// Streams whose sockets are not found yet.
    without_socket: Vec<StreamId>,
    /// Streams with unsent bytes to try.
    dirty: Vec<StreamId>,
    messages: Vec<StreamMessage<E>>,
    heartbeat: Arc<Chunk>,
    /// Bytes of all chunks in memory.
    chunk_bytes: Arc<AtomicUsize>,
    next_sweep: Instant,
    next_search: Instant,
}

/// Finds the connections with these peers.
type Find = dyn FnMut(&HashSet<SocketAddr>) -> Found + Send;
type Found = HashMap<SocketAddr, Result<OwnedFd, AmbiguousPeer>>;

struct Member<E> {
    exchange: E,
    subscriber: Subscriber,
    peer: SocketAddr,
    begun: Instant,
    user: UserId,
    expires: Instant,
    phase: Phase,
    is_dirty: bool,
    /// Bytes that the connection had received when its socket was found.
    received: u64,
    /// Reason to end as soon as its socket is found.
    ending: Option<StreamEnd>,
}

/// Progress of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits for its next page.
    Begun,
    /// A page is being sent.
    Page,
    /// It receives live events.
    Live,
}

impl<E> Member<E> {
    /// Returns whether the client sends a head of more than [`MAX_HEAD_BYTES`] after that of the
    /// stream. tiny_http reads it, and shows nothing of it until it is complete.
    fn is_endless_head(&self) -> bool {
        let Some(socket) = self.subscriber.socket() else { return false };
        let since =
            TcpInfo::of(socket).map_or(0, |info| info.received.saturating_sub(self.received));
        // Bytes in the socket's buffer do not count.
        let unread = || rustix::io::ioctl_fionread(socket).unwrap_or(0);
        since > MAX_HEAD_BYTES && since.saturating_sub(unread()) > MAX_HEAD_BYTES
    }
}

impl<E> Subscribers<E> {
    pub(in crate::http) fn new(
        find: impl FnMut(&HashSet<SocketAddr>) -> Found + Send + 'static,
        chunk_bytes: &Arc<AtomicUsize>,
        now: Instant,
    ) -> io::Result<Subscribers<E>> {
        Ok(Subscribers {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            find: Box::new(find),
            members: HashMap::new(),
            live: HashMap::new(),
            without_socket: Vec::new(),
            dirty: Vec::new(),
            messages: Vec::new(),
            heartbeat: Chunk::new(HEARTBEAT, chunk_bytes),
            chunk_bytes: Arc::clone(chunk_bytes),
            next_sweep: now,
            next_search: now,
        })
    }

    /// The `epoll` descriptor. Its events carry stream ids.
    pub(in crate::http) fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    /// Takes the messages to the loop.
    pub(in crate::http) fn messages(&mut self) -> impl Iterator<Item = StreamMessage<E>> {
        self.messages.drain(..)
    }

    /// Time until there is something to do, unless an event or a command comes.
    pub(in crate::http) fn pause(&self, now: Instant) -> Option<Duration> {
        let sweep = (!self.members.is_empty()).then_some(self.next_sweep);
        let search = (!self.without_socket.is_empty()).then_some(self.next_search);
        let next = sweep.into_iter().chain(search).min()?;
        Some(next.saturating_duration_since(now))
    }

    /// Carries out a command of the loop.
    pub(in crate::http) fn execute(&mut self, command: StreamCommand<E>, now: Instant) {
        match command {
            StreamCommand::Open(opening) => self.open(*opening, now),
            StreamCommand::Page { id, page, is_last } => self.page(id, page.as_ref(), is_last, now),
            StreamCommand::Publish(segments) => {
                for segment in &segments {
                    self.publish(segment);
                }
            }
            StreamCommand::Notify { ids, chunk } => {
                for id in ids {
                    self.push_to(id, &chunk);
                }
            }
            StreamCommand::End(id) => self.end(id, StreamEnd::Requested, now),
        }
    }

    fn open(&mut self, opening: StreamOpening<E>, now: Instant) {
        let StreamOpening { id, exchange, peer, begun, user, in_chunks, head, hello, expires } =
            opening;
        let mut subscriber = Subscriber::new(in_chunks, now);
        subscriber.push_head(head);
        subscriber.push(&hello);
        let (phase, is_dirty, ending) = (Phase::Begun, false, None);
        self.next_sweep = self.next_sweep.min(expires).min(now + HEARTBEAT_INTERVAL);
        self.members.insert(
            id,
            Member {
                exchange,
                subscriber,
                peer,
                begun,
                user,
                expires,
                phase,
                is_dirty,
                received: 0,
                ending,
            },
        );
        self.without_socket.push(id);
    }

    /// Time that a subscriber may take for a page.
    fn page_deadline(&self) -> Duration {
        let is_under_pressure = self.chunk_bytes.load(Ordering::Relaxed) >= PRESSURE_BYTES;
        if is_under_pressure { SHORT_PAGE_DEADLINE } else { PAGE_DEADLINE }
    }

    fn page(&mut self, id: StreamId, page: Option<&Arc<Chunk>>, is_last: bool, now: Instant) {
        // One more page may make memory short, and so shorten the deadline.
        self.next_sweep = self.next_sweep.min(now + self.page_deadline());
        let Some(member) = self.members.get_mut(&id).filter(|it| it.ending.is_none()) else {
            return;
        };
        if let Some(page) = page {
            member.subscriber.push_page(page, now);
        }
        if is_last {
            self.live.entry(member.user).or_default().push(id);
        }
        member.phase = if is_last { Phase::Live } else { Phase::Page };
        self.mark_dirty(id);
    }

    fn publish(&mut self, segment: &StreamSegment) {
        let Some(parties) = segment.to else {
            for (id, member) in &mut self.members {
                if member.phase == Phase::Live && member.ending.is_none() {
                    member.subscriber.push(&segment.chunk);
                    if !std::mem::replace(&mut member.is_dirty, true) {
                        self.dirty.push(*id);
                    }
                }
            }
            return;
        };
        // A message to oneself is sent once.
        let [one, other] = parties;
        let parties = if one == other { &parties[..1] } else { &parties[..] };
        let ids = parties.iter().filter_map(|user| self.live.get(user)).flatten();
        for id in ids.copied().collect::<Vec<_>>() {
            self.push_to(id, &segment.chunk);
        }
    }

    /// Queues a chunk, unless the stream is to end.
    fn push_to(&mut self, id: StreamId, chunk: &Arc<Chunk>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if member.ending.is_none() {
            member.subscriber.push(chunk);
            self.mark_dirty(id);
        }
    }

    fn mark_dirty(&mut self, id: StreamId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if !std::mem::replace(&mut member.is_dirty, true) {
            self.dirty.push(id);
        }
    }

    /// Handles an event of a socket.
    pub(in crate::http) fn on_socket_event(
        &mut self,
        id: StreamId,
        flags: EventFlags,
        now: Instant,
    ) {
        let Some(member) = self.members.get_mut(&id) else { return };
        // tiny_http shuts down reading when it expects no other request, which looks as if the
        // client had closed its side.
        let is_half_closed = || {
            let info = member.subscriber.socket().and_then(TcpInfo::of);
            info.is_none_or(|info| info.is_half_closed() || !info.is_open())
        };
        if flags.intersects(EventFlags::HUP | EventFlags::ERR)
            || flags.contains(EventFlags::RDHUP) && is_half_closed()
        {
            return self.end(id, StreamEnd::Disconnected, now);
        }
        if flags.contains(EventFlags::IN) && member.is_endless_head() {
            return self.end(id, StreamEnd::EndlessHead, now);
        }
        member.subscriber.set_writable();
        self.mark_dirty(id);
    }

    /// Looks for the sockets of new subscribers.
    pub(in crate::http) fn find_sockets(&mut self, now: Instant) {
        if self.without_socket.is_empty() || now < self.next_search {
            return;
        }
        let begun = Instant::now();
        let without_socket = std::mem::take(&mut self.without_socket);
        let members = without_socket.iter().filter_map(|id| self.members.get(id));
        let mut found = (self.find)(&members.map(|member| member.peer).collect());
        for id in without_socket {
            let Some(member) = self.members.get_mut(&id) else { continue };
            // Nothing may be sent to another connection with the same peer.
            let socket = match found.remove(&member.peer) {
                Some(Err(AmbiguousPeer)) if now < member.begun + SEARCH_TIMEOUT => {
                    self.without_socket.push(id);
                    continue;
                }
                Some(Err(AmbiguousPeer)) => {
                    self.remove(id, StreamEnd::UnknownConnection, now);
                    continue;
                }
                found => found.and_then(Result::ok),
            };
            // Edge-triggered, so that a socket with room costs nothing. Clients send nothing during
            // a stream.
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            let add = |socket: &OwnedFd| {
                epoll::add(&self.epoll, socket.as_fd(), EventData::new_u64(id), flags)
            };
            let Some(socket) = socket else {
                self.remove(id, StreamEnd::Disconnected, now);
                continue;
            };
            let is_added = add(&socket).is_ok();
            member.received = TcpInfo::of(&socket).map_or(0, |info| info.received);
            member.subscriber.attach(socket);
            if !is_added {
                member.ending = Some(StreamEnd::Disconnected);
            }
            match member.ending {
                Some(reason) => self.remove(id, reason, now),
                None => self.mark_dirty(id),
            }
        }
        self.next_search =
            now + (begun.elapsed() * (1 + SEARCH_PAUSE_FACTOR)).max(MIN_SEARCH_INTERVAL);
    }

    /// Sends what sockets take.
    pub(in crate::http) fn flush(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.dirty) {
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.is_dirty = false;
            match member.subscriber.flush(now) {
                Flushed::Disconnected => self.end(id, StreamEnd::Disconnected, now),
                Flushed::Partly if member.subscriber.is_behind() => {
                    self.end(id, StreamEnd::TooSlow, now);
                }
                Flushed::Partly => {}
                Flushed::All => {
                    if member.phase == Phase::Page {
                        member.phase = Phase::Begun;
                        self.messages.push(StreamMessage::PageSent(id));
                    }
                }
            }
        }
    }

    /// Sends heartbeats, and ends the streams whose deadlines have passed.
    pub(in crate::http) fn sweep(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        let mut next = now + HEARTBEAT_INTERVAL;
        let page_deadline = self.page_deadline();
        let (mut silent, mut overdue) = (Vec::new(), Vec::new());
        for (id, member) in &self.members {
            let Subscriber { last_sent, last_progress, page_since, .. } = member.subscriber;
            let (due, list) = if member.subscriber.is_idle() {
                (last_sent + HEARTBEAT_INTERVAL, &mut silent)
            } else {
                let page = page_since.map(|since| since + page_deadline);
                (page.into_iter().fold(last_progress + STALL_DEADLINE, Instant::min), &mut overdue)
            };
            if member.expires <= now {
                overdue.push((*id, StreamEnd::Expired));
            } else if due <= now {
                list.push((*id, StreamEnd::TooSlow));
            } else {
                next = next.min(due).min(member.expires);
            }
        }
        for (id, reason) in overdue {
            self.end(id, reason, now);
        }
        for (id, _) in silent {
            if let Some(member) = self.members.get_mut(&id) {
                member.subscriber.last_sent = now;
                member.subscriber.push(&self.heartbeat);
                self.mark_dirty(id);
            }
        }
        self.flush(now);
        self.next_sweep = next.max(now + MIN_SWEEP_INTERVAL);
    }

    /// Ends a stream. If its socket is not found yet, it ends once that is found; its client would
    /// otherwise stay unanswered on an open connection.
    fn end(&mut self, id: StreamId, reason: StreamEnd, now: Instant) {
        match self.members.get_mut(&id) {
            Some(member) if member.subscriber.socket().is_none() => {
                member.ending.get_or_insert(reason);
            }
            _ => self.remove(id, reason, now),
        }
    }

    fn remove(&mut self, id: StreamId, reason: StreamEnd, now: Instant) {
        let Some(mut member) = self.members.remove(&id) else { return };
        if let Some(socket) = member.subscriber.socket() {
            // The server has other descriptors of the socket, so closing this one does not remove
            // it.
            let _ = epoll::delete(&self.epoll, socket);
        }
        if reason == StreamEnd::TooSlow {
            member.subscriber.shut_down();
        } else {
            member.subscriber.end(now);
        }
        if let Some(ids) = self.live.get_mut(&member.user) {
            ids.retain(|it| *it != id);
            if ids.is_empty() {
                self.live.remove(&member.user);
            }
        }
        let (exchange, sent) = (member.exchange, member.subscriber.sent);
        self.messages.push(StreamMessage::Ended(EndedStream { id, exchange, sent, reason }));
    }

    pub(in crate::http) fn shut_down_all(self) {
        for (_, mut member) in self.members {
            member.subscriber.shut_down();
            // Dropping the exchange would have tiny_http answer it.
            std::mem::forget(member.exchange);
        }
    }
}

#[cfg(test)]
mod tests;
