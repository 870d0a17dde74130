//! Long polls: requests that wait for a message.
//!
//! A wait ends by an event of one of its topics, by its deadline, or with its connection; each of
//! these finds it without a search. No turn visits all waiting requests, so that a waiting request
//! costs the loop nothing until there is something for it. Requests whose wait ends are put in a
//! queue, from which the loop takes as many as it has room for.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use crate::api::Revoked;
use crate::api::notices::Topic;
use crate::api::wait::Wait;
use crate::http::requests::exchange::Exchange;
use crate::model::{EventId, Timestamp, UserId};

/// Waiting requests in all. Each keeps a connection, which has two descriptors and a thread.
pub(in crate::http) const MAX_PARKED: usize = 10_000;
/// Waiting requests of one user: several devices with several lists each.
pub(in crate::http) const MAX_PARKED_PER_USER: usize = 32;
/// One waiting request is allowed for so many descriptors of the process's limit. With two
/// descriptors per connection, a third of all connections is left for other requests.
const DESCRIPTORS_PER_PARKED: usize = 3;
/// Descriptors of a connection.
const DESCRIPTORS: usize = 2;

/// All waiting requests.
pub(in crate::http) struct Parking<E = Exchange> {
    max: usize,
    /// Descriptors for connections with a waiting request or a stream.
    max_held_descriptors: usize,
    /// Descriptors of streams.
    stream_descriptors: usize,
    next: Ticket,
    parked: HashMap<Ticket, Parked<E>>,
    /// Waits by topic and by the lowest event id that they are for.
    waiting: BTreeSet<(Topic, u64, Ticket)>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    /// By the time of day at which their tokens expire.
    expiries: BTreeSet<(Timestamp, Ticket)>,
    /// A connection has one request in flight.
    by_peer: HashMap<SocketAddr, Ticket>,
    by_user: HashMap<UserId, usize>,
    /// Requests whose wait ends, in order. Tickets of requests that were removed are skipped.
    due: VecDeque<Ticket>,
}

/// Identifies a wait. Tickets are never reused.
type Ticket = u64;

/// A waiting request.
pub(in crate::http) struct Parked<E> {
    pub(in crate::http) exchange: E,
    pub(in crate::http) wait: Wait,
    pub(in crate::http) since: Instant,
    /// True if its connection ends with the reply.
    pub(in crate::http) close_after: bool,
    peer: SocketAddr,
    deadline: Instant,
    state: ParkedState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ParkedState {
    Waiting,
    /// In the queue, because there may be a message for it.
    Woken,
    /// In the queue, to be answered with what there is.
    Ended,
}

/// A request from the queue.
pub(in crate::http) enum Due<E> {
    /// There may be a message for it: read its page. If the page is empty, it [waits
    /// on](Parking::wait_on).
    Look(Parked<E>),
    /// Its wait is over.
    Answer(Parked<E>),
}

/// Reason for which a request cannot wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum ParkingFull {
    /// Its user has [`MAX_PARKED_PER_USER`].
    ForUser,
    /// The limit for all users is reached.
    ForAll,
}

impl<E> Parking<E> {
    /// `max_descriptors` is the process's limit on open descriptors.
    pub(in crate::http) fn new(max_descriptors: usize) -> Parking<E> {
        Parking {
            max: MAX_PARKED.min(max_descriptors / DESCRIPTORS_PER_PARKED),
            max_held_descriptors: max_descriptors / 5 * 4,
            stream_descriptors: 0,
            next: 0,
            parked: HashMap::new(),
            waiting: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            expiries: BTreeSet::new(),
            by_peer: HashMap::new(),
            by_user: HashMap::new(),
            due: VecDeque::new(),
        }
    }

    /// Number of waiting requests.
    pub(in crate::http) fn len(&self) -> usize {
        self.parked.len()
    }

    /// Descriptors that are left for more waiting requests or streams.
    pub(in crate::http) fn free_descriptors(&self) -> usize {
        self.max_held_descriptors
            .saturating_sub(self.stream_descriptors + self.parked.len() * DESCRIPTORS)
    }

    /// Sets the number of descriptors that streams have.
    pub(in crate::http) fn set_stream_descriptors(&mut self, stream_descriptors: usize) {
        self.stream_descriptors = stream_descriptors;
    }

    /// Returns whether a request of this connection waits.
    pub(in crate::http) fn holds(&self, peer: SocketAddr) -> bool {
        self.by_peer.contains_key(&peer)
    }

    /// Returns whether the queue is not empty.
    pub(in crate::http) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The earliest deadline.
    pub(in crate::http) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Parks a request of the connection with `peer` at time `now`. Returns the request if there is
    /// no room.
    pub(in crate::http) fn park(
        &mut self,
        peer: SocketAddr,
        exchange: E,
        wait: Wait,
        now: Instant,
    ) -> Result<(), (E, ParkingFull)> {
        if self.by_user.get(&wait.user).is_some_and(|count| *count >= MAX_PARKED_PER_USER) {
            return Err((exchange, ParkingFull::ForUser));
        }
        if self.parked.len() >= self.max || self.free_descriptors() < DESCRIPTORS {
            return Err((exchange, ParkingFull::ForAll));
        }
        let ticket = self.next;
        self.next += 1;
        *self.by_user.entry(wait.user).or_default() += 1;
        let deadline = now + wait.time;
        let state = ParkedState::Waiting;
        let close_after = false;
        self.insert(
            ticket,
            Parked { exchange, wait, since: now, close_after, peer, deadline, state },
        );
        Ok(())
    }

    /// Parks a request again for which there was no message.
    pub(in crate::http) fn wait_on(&mut self, mut parked: Parked<E>) {
        let ticket = self.next;
        self.next += 1;
        *self.by_user.entry(parked.wait.user).or_default() += 1;
        parked.state = ParkedState::Waiting;
        self.insert(ticket, parked);
    }

    fn insert(&mut self, ticket: Ticket, parked: Parked<E>) {
        let Wait { ref topics, from, .. } = parked.wait;
        self.waiting.extend(topics.iter().map(|topic| (*topic, from, ticket)));
        self.deadlines.insert((parked.deadline, ticket));
        self.expiries.insert((parked.wait.expires, ticket));
        self.by_peer.insert(parked.peer, ticket);
        self.parked.insert(ticket, parked);
    }

    /// Wakes the requests that wait for an event of this topic with this id.
    pub(in crate::http) fn wake(&mut self, topic: Topic, id: EventId) {
        let all = (topic, 0, 0)..=(topic, id.get(), Ticket::MAX);
        let woken: Vec<Ticket> = self.waiting.range(all).map(|(_, _, ticket)| *ticket).collect();
        for ticket in woken {
            self.queue(ticket, ParkedState::Woken);
        }
    }

    /// Ends the waits whose deadline has passed.
    pub(in crate::http) fn expire(&mut self, now: Instant) {
        while let Some(&(deadline, ticket)) = self.deadlines.first()
            && deadline <= now
        {
            self.queue(ticket, ParkedState::Ended);
        }
    }

    /// Ends the waits whose tokens have expired by the time of day, which can be set, so that
    /// deadlines do not know it.
    pub(in crate::http) fn expire_tokens(&mut self, now: Timestamp) {
        while let Some(&(expires, ticket)) = self.expiries.first()
            && expires <= now
        {
            self.queue(ticket, ParkedState::Ended);
        }
    }

    /// Ends the wait of a connection, if it has one.
    pub(in crate::http) fn end(&mut self, peer: SocketAddr) {
        if let Some(&ticket) = self.by_peer.get(&peer) {
            self.queue(ticket, ParkedState::Ended);
        }
    }

    /// Ends the wait of a connection, which ends with the reply.
    pub(in crate::http) fn end_and_close(&mut self, peer: SocketAddr) {
        self.end(peer);
        let ticket = self.by_peer.get(&peer);
        if let Some(parked) = ticket.and_then(|ticket| self.parked.get_mut(ticket)) {
            parked.close_after = true;
        }
    }

    /// Ends the wait of a connection, and applies `change` to its request. Returns whether it has
    /// one.
    pub(in crate::http) fn end_with(
        &mut self,
        peer: SocketAddr,
        change: impl FnOnce(&mut E),
    ) -> bool {
        self.end(peer);
        let ticket = self.by_peer.get(&peer);
        let parked = ticket.and_then(|ticket| self.parked.get_mut(ticket));
        parked.map(|parked| change(&mut parked.exchange)).is_some()
    }

    /// Ends the waits that began before `then`, except on these connections. It visits all waiting
    /// requests, and serves the case that a connection has ended and it is unknown which.
    pub(in crate::http) fn end_all_but(&mut self, connected: &HashSet<SocketAddr>, then: Instant) {
        let has_gone =
            |parked: &Parked<E>| parked.since <= then && !connected.contains(&parked.peer);
        let gone: Vec<Ticket> = self
            .parked
            .iter()
            .filter(|(_, parked)| has_gone(parked))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in gone {
            self.queue(ticket, ParkedState::Ended);
        }
    }

    /// Ends the waits of revoked sessions. It visits all waiting requests: sessions are ended
    /// seldom, and only after a password was hashed, or by an operator.
    pub(in crate::http) fn end_revoked(&mut self, revoked: &[Revoked]) {
        let is_it = |wait: &Wait| {
            revoked.iter().any(|it| match *it {
                Revoked::Session(user, id) => wait.user == user && wait.session == id,
                Revoked::User(user) => wait.user == user,
            })
        };
        let ended = self.parked.iter().filter(|(_, parked)| is_it(&parked.wait));
        let ended: Vec<Ticket> = ended.map(|(ticket, _)| *ticket).collect();
        for ticket in ended {
            self.queue(ticket, ParkedState::Ended);
        }
    }

    /// Ends all waits, in the order of their arrival.
    pub(in crate::http) fn end_all(&mut self) {
        let mut all: Vec<Ticket> = self.parked.keys().copied().collect();
        all.sort_unstable();
        for ticket in all {
            self.queue(ticket, ParkedState::Ended);
        }
    }

    fn queue(&mut self, ticket: Ticket, state: ParkedState) {
        let Some(parked) = self.parked.get_mut(&ticket) else { return };
        match parked.state {
            ParkedState::Waiting => self.due.push_back(ticket),
            // It is in the queue already.
            ParkedState::Woken if state == ParkedState::Ended => {}
            _ => return,
        }
        parked.state = state;
        let Wait { ref topics, from, .. } = parked.wait;
        for topic in topics {
            self.waiting.remove(&(*topic, from, ticket));
        }
        if state == ParkedState::Ended {
            self.deadlines.remove(&(parked.deadline, ticket));
            self.expiries.remove(&(parked.wait.expires, ticket));
        }
    }

    /// Takes the first request from the queue.
    pub(in crate::http) fn next_due(&mut self) -> Option<Due<E>> {
        loop {
            let ticket = self.due.pop_front()?;
            if let Some(parked) = self.take(ticket) {
                let is_over = parked.state == ParkedState::Ended;
                return Some(if is_over { Due::Answer(parked) } else { Due::Look(parked) });
            }
        }
    }

    /// Removes the request of a connection that has ended, if there is one.
    pub(in crate::http) fn remove(&mut self, peer: SocketAddr) -> Option<Parked<E>> {
        let ticket = *self.by_peer.get(&peer)?;
        self.take(ticket)
    }

    fn take(&mut self, ticket: Ticket) -> Option<Parked<E>> {
        let parked = self.parked.remove(&ticket)?;
        let Wait { ref topics, from, user, .. } = parked.wait;
        if parked.state == ParkedState::Waiting {
            for topic in topics {
                self.waiting.remove(&(*topic, from, ticket));
            }
        }
        self.deadlines.remove(&(parked.deadline, ticket));
        self.expiries.remove(&(parked.wait.expires, ticket));
        self.by_peer.remove(&parked.peer);
        if let Entry::Occupied(mut count) = self.by_user.entry(user) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        Some(parked)
    }
}

#[cfg(test)]
mod tests;
