//! The loop's view of streams: their owners, and their positions in the sequence of events.
//!
//! Every visible event reaches a subscriber exactly once, in order. The loop alone reads the store,
//! and what it reads are consecutive ranges of the sequence:
//!
//! * Each stream has a position, `from`: all events below it that its user may see were sent, and
//!   none from it on. While the stream catches up, it is sent a page, and `from` moves to the end
//!   of that page.
//! * All live streams share one position, `published`. In each turn the events since then are sent
//!   once, in order, to the live streams that may see them.
//! * A stream goes live when its page reaches the end of the sequence, and `published` is there
//!   too. Nothing can happen between the two checks, as the loop handles no request in between. So
//!   both positions are equal.
//! * Commands reach the broadcaster in the order in which they were sent. So a stream goes live
//!   after all events below its position, and before all others.
//! * All of this happens after the turn's sync. So no event is sent that could still be lost.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;

use super::protocol::StreamId;
use crate::api::Revoked;
use crate::api::stream::Subscription;
use crate::http::requests::exchange::Exchange;
use crate::http::requests::parking::ParkingFull;
use crate::http::requests::request_id::RequestId;
use crate::model::{SessionId, Timestamp, UserId};

/// Streams in all.
pub(in crate::http) const MAX_STREAMS: usize = 10_000;
/// Streams of one user: several devices with several windows each.
pub(in crate::http) const MAX_STREAMS_PER_USER: usize = 16;
/// Descriptors of a stream: two of its connection, and one of the broadcaster.
pub(in crate::http) const DESCRIPTORS: usize = 3;

/// All streams.
pub(in crate::http) struct StreamRegistry {
    next: StreamId,
    all: HashMap<StreamId, Stream>,
    by_peer: HashMap<SocketAddr, StreamId>,
    by_user: HashMap<UserId, Vec<StreamId>>,
    /// Times of day at which tokens expire, of the streams that were not ended for it.
    expiries: BTreeSet<(Timestamp, StreamId)>,
    /// Streams that wait for a page, in order.
    waiting_for_page: VecDeque<StreamId>,
    /// Streams that want only events that do not exist yet, by the first one's number.
    waiting_for_event: BTreeSet<(u64, StreamId)>,
    /// Streams of this turn's requests, which begin after its sync.
    opening: Vec<PendingStream>,
    /// Number of live streams.
    live: usize,
    /// Position of all live streams.
    pub(in crate::http) published: u64,
    /// True if there are events that the live streams were not sent.
    pub(in crate::http) is_behind: bool,
}

/// A stream.
pub(in crate::http) struct Stream {
    pub(in crate::http) peer: SocketAddr,
    pub(in crate::http) user: UserId,
    session: SessionId,
    /// Expiry of its token, by the time of day.
    expires: Timestamp,
    /// Its position while it is not live.
    pub(in crate::http) from: u64,
    /// Its request's id, once its head was sent.
    pub(in crate::http) request: Option<RequestId>,
    is_live: bool,
    /// True if it is to end as soon as it has begun.
    pub(in crate::http) ends_at_once: bool,
}

/// A stream that begins after the turn's sync.
pub(in crate::http) struct PendingStream {
    pub(in crate::http) id: StreamId,
    pub(in crate::http) exchange: Exchange,
    pub(in crate::http) subscription: Box<Subscription>,
}

impl StreamRegistry {
    pub(in crate::http) fn new() -> StreamRegistry {
        StreamRegistry {
            next: 0,
            all: HashMap::new(),
            by_peer: HashMap::new(),
            by_user: HashMap::new(),
            expiries: BTreeSet::new(),
            waiting_for_page: VecDeque::new(),
            waiting_for_event: BTreeSet::new(),
            opening: Vec::new(),
            live: 0,
            published: 0,
            is_behind: false,
        }
    }

    pub(in crate::http) fn len(&self) -> usize {
        self.all.len()
    }

    pub(in crate::http) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The stream of a connection.
    pub(in crate::http) fn of_peer(&self, peer: SocketAddr) -> Option<StreamId> {
        self.by_peer.get(&peer).copied()
    }

    /// Returns whether a user has a stream.
    pub(in crate::http) fn has_user(&self, user: UserId) -> bool {
        self.by_user.contains_key(&user)
    }

    /// The streams of a user.
    pub(in crate::http) fn of_user(&self, user: UserId) -> &[StreamId] {
        self.by_user.get(&user).map_or(&[], Vec::as_slice)
    }

    /// Returns whether a stream is live.
    pub(in crate::http) fn is_live(&self) -> bool {
        self.live > 0
    }

    /// Returns whether a stream waits for a page.
    pub(in crate::http) fn is_due(&self) -> bool {
        !self.waiting_for_page.is_empty()
    }

    pub(in crate::http) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.all.get_mut(&id)
    }

    /// The ids of all streams.
    pub(in crate::http) fn all(&self) -> Vec<StreamId> {
        self.all.keys().copied().collect()
    }

    /// The streams of a user, or of one of the user's sessions.
    pub(in crate::http) fn of_revoked(&self, revoked: Revoked) -> Vec<StreamId> {
        let of = |user| self.by_user.get(&user).into_iter().flatten().copied();
        match revoked {
            Revoked::User(user) => of(user).collect(),
            Revoked::Session(user, session) => {
                let is_it = |id: &StreamId| {
                    self.all.get(id).is_some_and(|stream| stream.session == session)
                };
                of(user).filter(is_it).collect()
            }
        }
    }

    /// Removes and returns the streams whose tokens have expired by the time of day.
    pub(in crate::http) fn take_expired(&mut self, now: Timestamp) -> Vec<StreamId> {
        let mut expired = Vec::new();
        while let Some(&(expires, id)) = self.expiries.first()
            && expires <= now
        {
            self.expiries.pop_first();
            expired.push(id);
        }
        expired
    }

    /// Adds a stream, if there is room. `free_descriptors` is the number that is left for streams.
    pub(in crate::http) fn admit(
        &mut self,
        peer: SocketAddr,
        subscription: &Subscription,
        free_descriptors: usize,
    ) -> Result<StreamId, ParkingFull> {
        let Subscription { user, session, expires, from, .. } = *subscription;
        if self.by_user.get(&user).is_some_and(|all| all.len() >= MAX_STREAMS_PER_USER) {
            return Err(ParkingFull::ForUser);
        }
        if self.all.len() >= MAX_STREAMS || free_descriptors < DESCRIPTORS {
            return Err(ParkingFull::ForAll);
        }
        let id = self.next;
        self.next += 1;
        let (request, is_live, ends_at_once) = (None, false, false);
        let stream = Stream { peer, user, session, expires, from, request, is_live, ends_at_once };
        self.all.insert(id, stream);
        self.expiries.insert((expires, id));
        self.by_peer.insert(peer, id);
        self.by_user.entry(user).or_default().push(id);
        Ok(id)
    }

    /// Keeps a request until the turn's sync.
    pub(in crate::http) fn open(&mut self, pending: PendingStream) {
        self.opening.push(pending);
    }

    /// Removes and returns the streams of this turn's requests.
    pub(in crate::http) fn take_opening(&mut self) -> Vec<PendingStream> {
        std::mem::take(&mut self.opening)
    }

    /// Queues a stream for its next page: its last page was sent, or it had none.
    pub(in crate::http) fn queue_for_page(&mut self, id: StreamId) {
        if self.all.contains_key(&id) {
            self.waiting_for_page.push_back(id);
        }
    }

    /// Takes the next stream from the queue. Streams that have ended are skipped.
    pub(in crate::http) fn next_due(&mut self) -> Option<StreamId> {
        while let Some(id) = self.waiting_for_page.pop_front() {
            if self.all.contains_key(&id) {
                return Some(id);
            }
        }
        None
    }

    /// Queues a stream once an event with the number `from` exists.
    pub(in crate::http) fn wait_until(&mut self, from: u64, id: StreamId) {
        self.waiting_for_event.insert((from, id));
    }

    /// Queues the streams that waited for events below `end`, the number of the next event.
    pub(in crate::http) fn advance(&mut self, end: u64) {
        while let Some(&(from, id)) = self.waiting_for_event.first()
            && from <= end
        {
            self.waiting_for_event.pop_first();
            self.queue_for_page(id);
        }
    }

    /// Marks a stream as live.
    pub(in crate::http) fn go_live(&mut self, id: StreamId) {
        if let Some(stream) = self.all.get_mut(&id) {
            stream.is_live = true;
            self.live += 1;
        }
    }

    /// Removes a stream that has ended.
    pub(in crate::http) fn remove(&mut self, id: StreamId) -> Option<Stream> {
        let stream = self.all.remove(&id)?;
        self.by_peer.remove(&stream.peer);
        self.live -= usize::from(stream.is_live);
        self.waiting_for_event.remove(&(stream.from, id));
        self.expiries.remove(&(stream.expires, id));
        if let Some(all) = self.by_user.get_mut(&stream.user) {
            all.retain(|it| *it != id);
            if all.is_empty() {
                self.by_user.remove(&stream.user);
            }
        }
        if self.all.is_empty() {
            // No stream would ever take it, and the loop would not sleep.
            self.waiting_for_page.clear();
            self.is_behind = false;
        }
        Some(stream)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::Reply;
    use crate::problem::Problem;

    fn admitted(streams: &mut StreamRegistry, port: u16) -> StreamId {
        let subscription = Subscription {
            reply: Reply::from(Problem::internal()),
            user: UserId::FIRST,
            session: SessionId([0; 16]),
            expires: Timestamp::MAX,
            time_left: Duration::MAX,
            from: 0,
        };
        streams.admit(SocketAddr::from(([127, 0, 0, 1], port)), &subscription, DESCRIPTORS).unwrap()
    }

    /// Work for the last stream ends with it.
    #[test]
    fn nothing_is_due_without_streams() {
        let mut streams = StreamRegistry::new();
        let ids = [1, 2].map(|port| admitted(&mut streams, port));
        for id in ids {
            streams.queue_for_page(id);
        }
        streams.is_behind = true;
        streams.remove(ids[0]);
        assert!(streams.is_due() && streams.is_behind, "there is one left");
        streams.remove(ids[1]);
        assert!(!streams.is_due() && !streams.is_behind);
    }
}
