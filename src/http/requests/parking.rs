//! Requests that are held until something has come for them.
//!
//! Each is found by what can end its wait: an event of one of its topics, its deadline, its
//! connection. Nothing here goes through all of them in a turn, so that one who waits costs the
//! loop nothing until there is something for it. Who is to wait no longer is put in a queue, from
//! which the loop takes as many as it has room for.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use crate::api::Revoked;
use crate::api::notices::Topic;
use crate::api::wait::Wait;
use crate::http::requests::exchange::Exchange;
use crate::model::{EventId, Timestamp, UserId};

/// Requests that wait, in all. Each keeps a connection, which has two descriptors and a thread.
pub(in crate::http) const MAX_PARKED: usize = 10_000;
/// Those of one user: several devices with several lists each.
pub(in crate::http) const MAX_PARKED_PER_USER: usize = 32;
/// One in so many of the descriptors that the process may have is there for a request to wait. With
/// two for each connection that leaves a third of all connections to who asks for something else.
const DESCRIPTORS_PER_PARKED: usize = 3;
/// What a connection has of them.
const DESCRIPTORS: usize = 2;

/// All that wait.
pub(in crate::http) struct Parking<E = Exchange> {
    max: usize,
    /// Descriptors that connections may have which wait or are streams.
    descriptors: usize,
    /// How many of them streams have.
    taken: usize,
    next: Ticket,
    parked: HashMap<Ticket, Parked<E>>,
    /// Who waits for an event of a topic, from which number on.
    waiting: BTreeSet<(Topic, u64, Ticket)>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    /// By the time of day at which their tokens expire.
    expiries: BTreeSet<(Timestamp, Ticket)>,
    /// A connection has one request in flight.
    by_peer: HashMap<SocketAddr, Ticket>,
    by_user: HashMap<UserId, usize>,
    /// Who is to be looked after, in the order in which that became so. Tickets of who has gone
    /// meanwhile are passed over.
    due: VecDeque<Ticket>,
}

/// Never given out twice.
type Ticket = u64;

/// One that waits.
pub(in crate::http) struct Parked<E> {
    pub(in crate::http) exchange: E,
    pub(in crate::http) wait: Wait,
    pub(in crate::http) since: Instant,
    /// Whether its connection is to end as well.
    pub(in crate::http) close_after: bool,
    peer: SocketAddr,
    deadline: Instant,
    state: ParkedState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ParkedState {
    Waiting,
    /// In the queue, because there may be something for it.
    Woken,
    /// In the queue, to be answered with what there is.
    Ended,
}

/// What is to be done about who was in the queue.
pub(in crate::http) enum Due<E> {
    /// There may be something for it: look. If there is not, it goes [back](Parking::wait_on).
    Look(Parked<E>),
    /// Its wait is over.
    Answer(Parked<E>),
}

/// Why a request cannot wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum ParkingFull {
    /// There are [`MAX_PARKED_PER_USER`] of its user.
    ForUser,
    /// There are as many as there may be.
    ForAll,
}

impl<E> Parking<E> {
    /// For a process that may have so many descriptors open.
    pub(in crate::http) fn new(max_descriptors: usize) -> Parking<E> {
        Parking {
            max: MAX_PARKED.min(max_descriptors / DESCRIPTORS_PER_PARKED),
            descriptors: max_descriptors / 5 * 4,
            taken: 0,
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

    /// How many wait.
    pub(in crate::http) fn len(&self) -> usize {
        self.parked.len()
    }

    /// How many descriptors there are for more connections that wait or are streams.
    pub(in crate::http) fn free_descriptors(&self) -> usize {
        self.descriptors.saturating_sub(self.taken + self.parked.len() * DESCRIPTORS)
    }

    /// Streams have so many descriptors.
    pub(in crate::http) fn set_taken(&mut self, taken: usize) {
        self.taken = taken;
    }

    /// Whether a request of this connection waits.
    pub(in crate::http) fn holds(&self, peer: SocketAddr) -> bool {
        self.by_peer.contains_key(&peer)
    }

    /// Whether somebody is in the queue.
    pub(in crate::http) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// When the next wait is over.
    pub(in crate::http) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Has a request of the connection with `peer` wait, from `now` on. Gives it back if there is
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

    /// Has one wait on for which there was nothing after all.
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

    /// An event of a topic has this number.
    pub(in crate::http) fn wake(&mut self, topic: Topic, id: EventId) {
        let all = (topic, 0, 0)..=(topic, id.get(), Ticket::MAX);
        let woken: Vec<Ticket> = self.waiting.range(all).map(|(_, _, ticket)| *ticket).collect();
        for ticket in woken {
            self.queue(ticket, ParkedState::Woken);
        }
    }

    /// Ends the waits whose time is over.
    pub(in crate::http) fn expire(&mut self, now: Instant) {
        while let Some(&(deadline, ticket)) = self.deadlines.first()
            && deadline <= now
        {
            self.queue(ticket, ParkedState::Ended);
        }
    }

    /// Ends the waits whose tokens have expired by the time of day: their deadlines do not know when
    /// that is set.
    pub(in crate::http) fn expire_tokens(&mut self, now: Timestamp) {
        while let Some(&(expires, ticket)) = self.expiries.first()
            && expires <= now
        {
            self.queue(ticket, ParkedState::Ended);
        }
    }

    /// Ends the wait of a connection, if a request of it waits.
    pub(in crate::http) fn end(&mut self, peer: SocketAddr) {
        if let Some(&ticket) = self.by_peer.get(&peer) {
            self.queue(ticket, ParkedState::Ended);
        }
    }

    /// The same, and the connection is to end with it.
    pub(in crate::http) fn end_for_good(&mut self, peer: SocketAddr) {
        self.end(peer);
        let ticket = self.by_peer.get(&peer);
        if let Some(parked) = ticket.and_then(|ticket| self.parked.get_mut(ticket)) {
            parked.close_after = true;
        }
    }

    /// Ends the wait of a connection, if a request of it waits, of which something is to be
    /// remembered until it is answered. Says whether one does.
    pub(in crate::http) fn end_with(
        &mut self,
        peer: SocketAddr,
        remember: impl FnOnce(&mut E),
    ) -> bool {
        self.end(peer);
        let ticket = self.by_peer.get(&peer);
        let parked = ticket.and_then(|ticket| self.parked.get_mut(ticket));
        parked.map(|parked| remember(&mut parked.exchange)).is_some()
    }

    /// Ends those of all connections but these, as far as they have waited since `then`. Goes
    /// through all of them: it is for when a connection has ended and it is not known which.
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

    /// Ends those whose token is not good any more. Goes through all of them: a session is ended
    /// seldom, and never without a password having been hashed for it, or an operator's will.
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

    /// Ends all of them, in the order in which they came.
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
            // It has its place already.
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

    /// Takes the first out of the queue.
    pub(in crate::http) fn next_due(&mut self) -> Option<Due<E>> {
        loop {
            let ticket = self.due.pop_front()?;
            if let Some(parked) = self.take(ticket) {
                let is_over = parked.state == ParkedState::Ended;
                return Some(if is_over { Due::Answer(parked) } else { Due::Look(parked) });
            }
        }
    }

    /// Takes out the one of a connection that has ended, if there is one.
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
