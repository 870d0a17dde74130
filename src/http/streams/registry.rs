//! The loop's side of streams: whose they are, and how far each has got.
//!
//! Every visible event reaches a listener exactly once, in order, because the loop is the only one
//! that reads the store, and what it reads is one prefix of the sequence after the other:
//!
//! * A stream has a number, `from`: all that its user may see below it was sent, and nothing from
//!   it on. While it catches up it is given a page and `from` is set behind that.
//! * All that are live have one such number together, `published`: in each turn what happened since
//!   is sent once, in order, to those of them who may see it.
//! * A stream goes live when its page has all that there is and `published` is as far, too. Between
//!   the reading of that page and this nothing can happen, as the loop does both without handling
//!   anything. So its number and that of the others are one and the same.
//! * What the broadcaster is told comes to it in the order in which it was said: that the stream is
//!   live is behind all news below its number, and before all others.
//! * All of this is done behind the turn's sync. So nobody is told what could still be lost.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;

use super::protocol::StreamId;
use crate::api::Revoked;
use crate::api::stream::Subscription;
use crate::http::requests::exchange::Exchange;
use crate::http::requests::parking::ParkingFull;
use crate::http::requests::request_id::RequestId;
use crate::model::{SessionId, Timestamp, UserId};

/// Streams, in all.
pub(in crate::http) const MAX_STREAMS: usize = 10_000;
/// Those of one user: several devices with several windows each.
pub(in crate::http) const MAX_STREAMS_PER_USER: usize = 16;
/// What a stream costs: its connection has two, and the broadcaster one.
pub(in crate::http) const DESCRIPTORS: usize = 3;

/// All streams.
pub(in crate::http) struct StreamRegistry {
    next: StreamId,
    all: HashMap<StreamId, Stream>,
    by_peer: HashMap<SocketAddr, StreamId>,
    by_user: HashMap<UserId, Vec<StreamId>>,
    /// By the time of day at which their tokens expire: those that were not ended for it.
    expiries: BTreeSet<(Timestamp, StreamId)>,
    /// Who is to be given a page, in the order in which that became so.
    due: VecDeque<StreamId>,
    /// Who wants nothing but what is still to come, by the number from which on.
    ahead: BTreeSet<(u64, StreamId)>,
    /// Those who were asked for in this turn, and wait for its sync.
    opening: Vec<PendingStream>,
    /// How many are live.
    live: usize,
    /// Those who are live were told all below it.
    pub(in crate::http) published: u64,
    /// Whether something has happened that they were not told.
    pub(in crate::http) is_behind: bool,
}

/// One that has begun.
pub(in crate::http) struct Stream {
    pub(in crate::http) peer: SocketAddr,
    pub(in crate::http) user: UserId,
    session: SessionId,
    /// When its token expires, by the time of day.
    expires: Timestamp,
    /// It was told all below it, unless it is live.
    pub(in crate::http) from: u64,
    /// What its request is called, from when its head was sent.
    pub(in crate::http) request: Option<RequestId>,
    is_live: bool,
    /// Whether it is to end as soon as it has begun.
    pub(in crate::http) ends_at_once: bool,
}

/// One that is about to begin.
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
            due: VecDeque::new(),
            ahead: BTreeSet::new(),
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

    /// Whether the connection is a stream's.
    pub(in crate::http) fn of_peer(&self, peer: SocketAddr) -> Option<StreamId> {
        self.by_peer.get(&peer).copied()
    }

    /// Whether a user has a stream.
    pub(in crate::http) fn has_user(&self, user: UserId) -> bool {
        self.by_user.contains_key(&user)
    }

    /// Those of a user.
    pub(in crate::http) fn of_user(&self, user: UserId) -> &[StreamId] {
        self.by_user.get(&user).map_or(&[], Vec::as_slice)
    }

    /// Whether anybody is live.
    pub(in crate::http) fn is_live(&self) -> bool {
        self.live > 0
    }

    /// Whether somebody waits for a page.
    pub(in crate::http) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    pub(in crate::http) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.all.get_mut(&id)
    }

    /// The numbers of all.
    pub(in crate::http) fn all(&self) -> Vec<StreamId> {
        self.all.keys().copied().collect()
    }

    /// Those of a user, or of one of their sessions.
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

    /// Those whose tokens have expired by the time of day, each once.
    pub(in crate::http) fn expired(&mut self, now: Timestamp) -> Vec<StreamId> {
        let mut expired = Vec::new();
        while let Some(&(expires, id)) = self.expiries.first()
            && expires <= now
        {
            self.expiries.pop_first();
            expired.push(id);
        }
        expired
    }

    /// Takes one in, if there is room: `free_descriptors` are left for it.
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
    pub(in crate::http) fn open(&mut self, opened: PendingStream) {
        self.opening.push(opened);
    }

    /// Those who were asked for in this turn.
    pub(in crate::http) fn opening(&mut self) -> Vec<PendingStream> {
        std::mem::take(&mut self.opening)
    }

    /// One can be given a page: its last one is out, or it had none.
    pub(in crate::http) fn queue_for_page(&mut self, id: StreamId) {
        if self.all.contains_key(&id) {
            self.due.push_back(id);
        }
    }

    /// The next who is to be given a page. Those who have ended are passed over.
    pub(in crate::http) fn next_due(&mut self) -> Option<StreamId> {
        while let Some(id) = self.due.pop_front() {
            if self.all.contains_key(&id) {
                return Some(id);
            }
        }
        None
    }

    /// One wants nothing below a number that nothing has yet.
    pub(in crate::http) fn wait_until(&mut self, from: u64, id: StreamId) {
        self.ahead.insert((from, id));
    }

    /// The next event will have the number `end`: those who wanted nothing below it are ready.
    pub(in crate::http) fn advance(&mut self, end: u64) {
        while let Some(&(from, id)) = self.ahead.first()
            && from <= end
        {
            self.ahead.pop_first();
            self.queue_for_page(id);
        }
    }

    /// One has been told all there is, and is told the news from now on.
    pub(in crate::http) fn go_live(&mut self, id: StreamId) {
        if let Some(stream) = self.all.get_mut(&id) {
            stream.is_live = true;
            self.live += 1;
        }
    }

    /// One has ended.
    pub(in crate::http) fn remove(&mut self, id: StreamId) -> Option<Stream> {
        let stream = self.all.remove(&id)?;
        self.by_peer.remove(&stream.peer);
        self.live -= usize::from(stream.is_live);
        self.ahead.remove(&(stream.from, id));
        self.expiries.remove(&(stream.expires, id));
        if let Some(all) = self.by_user.get_mut(&stream.user) {
            all.retain(|it| *it != id);
            if all.is_empty() {
                self.by_user.remove(&stream.user);
            }
        }
        if self.all.is_empty() {
            // Nobody would ever come to it, and the loop would not sleep.
            self.due.clear();
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

    /// What there was to do for the last one is done with it: nobody would ever do it.
    #[test]
    fn there_is_nothing_to_do_for_nobody() {
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
