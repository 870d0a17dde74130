//! What the loop does for streams: behind each turn's sync it tells them what has happened, and
//! gives pages to those who are not as far. Why that is exactly once is said in
//! [`streams`](crate::http::streams).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Loop;
use crate::api::stream::{self, MAX_PAGE_BYTES, StreamPage, Subscription};
use crate::http::access_log::AccessRecord;
use crate::http::broadcast::{
    EndedStream, StreamCommand, StreamEnd, StreamId, StreamMessage, StreamOpening, StreamSegment,
};
use crate::http::exchange::Exchange;
use crate::http::parking::ParkingFull;
use crate::http::streams::{DESCRIPTORS, Opened};
use crate::problem::Problem;

/// Pages that are read in a turn at most, so that other requests do not wait for all who catch up.
const MAX_PAGES: usize = 16;
/// The same while there are requests to be handled: these go first.
const MAX_PAGES_BESIDE: usize = 4;
/// Bytes of pages that are given in a turn at most, beside those of its replies.
const MAX_PAGES_BYTES: usize = 512 * 1024;
/// Bytes that a page can have: see [`MAX_PAGE_BYTES`].
const LONGEST_PAGE_BYTES: usize = 2 * MAX_PAGE_BYTES;
/// How often a turn looks for news at most: a few hundred events at a time, of which those that
/// nobody who listens may see are not held up by what the broadcaster takes.
const MAX_NEWS: usize = 16;
/// After how many seconds who finds no room may ask again.
const RETRY_AFTER_SECONDS: u64 = 5;
/// How often it is looked whether listeners, who have not kept up, can be told more.
pub(super) const CATCH_UP_INTERVAL: Duration = Duration::from_millis(10);

impl Loop {
    /// Answers with a stream, behind the sync.
    pub(super) fn stream(&mut self, exchange: Exchange, subscription: Box<Subscription>) {
        if exchange.is_head() {
            return self.answer(exchange, subscription.reply);
        }
        let free = self.parking.free_descriptors();
        match self.streams.admit(exchange.peer(), &subscription, free) {
            Ok(id) => {
                self.count_streams();
                self.streams.open(Opened { id, exchange, subscription });
            }
            Err(full) => {
                self.metrics.refuse("streams");
                let why = match full {
                    ParkingFull::ForUser => "this user has too many streams already",
                    ParkingFull::ForAll => "there are too many streams already",
                };
                self.answer(exchange, Problem::too_many_requests(why, RETRY_AFTER_SECONDS).into());
            }
        }
    }

    fn count_streams(&mut self) {
        self.parking.set_taken(self.streams.len() * DESCRIPTORS);
        self.metrics.set_streams(self.streams.len());
    }

    /// Whether there is something to do for streams before anything else comes.
    pub(super) fn has_to_stream(&self) -> bool {
        self.streams.is_due() && !self.broadcaster.is_full()
            || self.streams.is_behind && !self.broadcaster.is_behind()
    }

    /// When it is to be looked whether there is, if that is not known otherwise.
    pub(super) fn next_look_at_streams(&self) -> Option<Instant> {
        let waits = self.streams.is_behind || self.streams.is_due();
        waits.then(|| Instant::now() + CATCH_UP_INTERVAL)
    }

    /// Tells listeners what has happened.
    pub(super) fn tell(&mut self) {
        if self.streams.is_empty() {
            // Kept, they would become ever more.
            drop(self.app.read_marks());
            return;
        }
        for opened in self.streams.opening() {
            self.begin_stream(opened);
        }
        self.publish();
        self.tell_marks();
        self.give_pages();
        self.broadcaster.ring();
    }

    /// Gives pages to those who are not live, in turn, as far as the turn has room for them.
    fn give_pages(&mut self) {
        let max_pages = if self.has_tasks() { MAX_PAGES_BESIDE } else { MAX_PAGES };
        let mut bytes = 0;
        for _ in 0..max_pages {
            if bytes + LONGEST_PAGE_BYTES > MAX_PAGES_BYTES || self.broadcaster.is_full() {
                break;
            }
            let Some(id) = self.streams.next_due() else { break };
            bytes += self.give_page(id);
        }
    }

    fn begin_stream(&mut self, opened: Opened) {
        let Opened { id, mut exchange, subscription } = opened;
        let Subscription { mut reply, user, time_left, .. } = *subscription;
        let peer = exchange.peer();
        self.app.cors().share(|| exchange.origin(), &mut reply);
        let request = self.ids.of(&exchange);
        let now = self.app.clock().now();
        let head = self.outbox.head_of_stream(&mut exchange, &reply, &request, now);
        self.tally.count(exchange.trace.route, reply.status, exchange.begun.elapsed());
        let mut is_over = self.draining || self.lanes.has_next(peer);
        if let Some(stream) = self.streams.get_mut(id) {
            stream.request = Some(request);
            is_over |= stream.is_over;
        }
        self.broadcaster.send(StreamCommand::Open(Box::new(StreamOpening {
            id,
            in_chunks: exchange.takes_chunks(),
            begun: exchange.begun,
            exchange,
            peer,
            user,
            head: self.broadcaster.head(head),
            hello: self.broadcaster.chunk(&reply.body),
            expires: Instant::now() + time_left,
        })));
        // Whoever has asked for something else already does not listen.
        if is_over {
            self.end_stream(id);
        } else {
            self.streams.is_ready(id);
        }
    }

    /// Tells the live ones what has happened since they were told last, as far as there is room.
    fn publish(&mut self) {
        let end = self.app.next_event();
        self.streams.reach(end);
        if !self.streams.is_live() {
            self.streams.published = end;
        }
        for _ in 0..MAX_NEWS {
            if self.streams.published >= end || self.broadcaster.is_behind() {
                break;
            }
            let streams = &self.streams;
            let news = self.app.news(streams.published, |user| streams.listens(user));
            let Some((news, next)) = news else { break };
            self.streams.published = next;
            let segment = |(to, bytes): (_, Vec<u8>)| StreamSegment {
                to,
                chunk: self.broadcaster.chunk(&bytes),
            };
            let segments: Vec<_> =
                news.into_iter().map(|news| segment((news.to, news.bytes))).collect();
            if !segments.is_empty() {
                self.broadcaster.send(StreamCommand::Publish(segments));
            }
        }
        self.streams.is_behind = self.streams.published < end;
    }

    /// Tells the streams of those who have read something, those too that are not live yet: nobody
    /// is told again what was read.
    fn tell_marks(&mut self) {
        for mark in self.app.read_marks() {
            let ids = self.streams.of_user(mark.user);
            if !ids.is_empty() {
                let chunk = self.broadcaster.chunk(&stream::read_mark_event(mark));
                self.broadcaster.send(StreamCommand::Tell { ids: ids.to_vec(), chunk });
            }
        }
    }

    /// Gives one who is not live a page, and has it go live if that is all. Says how long it is.
    fn give_page(&mut self, id: StreamId) -> usize {
        let (published, end) = (self.streams.published, self.app.next_event());
        let Some(stream) = self.streams.get_mut(id) else { return 0 };
        if stream.from > end {
            let from = stream.from;
            self.streams.wait_for(from, id);
            return 0;
        }
        let Some(page) = self.app.stream_page(stream.user, stream.from) else {
            self.end_stream(id);
            return 0;
        };
        let StreamPage { bytes, next, is_last } = page;
        stream.from = next;
        // Who is behind the others is as far as they are once these are told more.
        let is_last = is_last && published == next;
        let page = (!bytes.is_empty()).then(|| self.broadcaster.chunk(&bytes));
        if is_last {
            self.streams.go_live(id);
        }
        self.broadcaster.send(StreamCommand::Page { id, page, is_last });
        bytes.len()
    }

    /// Has one end. If it has not begun, it is told so behind its beginning: what is said before is
    /// not heard, and it would go on for good.
    pub(super) fn end_stream(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id)
            && stream.request.is_none()
        {
            stream.is_over = true;
            return;
        }
        self.broadcaster.send(StreamCommand::End(id));
        self.broadcaster.ring();
    }

    /// Has the one of a connection end, if there is one.
    pub(super) fn end_stream_of(&mut self, peer: SocketAddr) {
        if let Some(id) = self.streams.of(peer) {
            self.end_stream(id);
        }
    }

    /// Has all of them end.
    pub(super) fn end_all_streams(&mut self) {
        for id in self.streams.all() {
            self.end_stream(id);
        }
    }

    /// The store has failed: nobody is told that a stream begins.
    pub(super) fn refuse_streams(&mut self) {
        for Opened { exchange, .. } in self.streams.opening() {
            self.answer(exchange, Problem::internal().into());
        }
    }

    /// Something has become of a stream.
    pub(super) fn hear(&mut self, told: StreamMessage) {
        match told {
            StreamMessage::Ready(id) => self.streams.is_ready(id),
            StreamMessage::Ended(ended) => self.forget(ended),
        }
    }

    /// Nothing was sent: the connection it came on is one of several with the same peer.
    fn refuse_unknown(&mut self, mut exchange: Exchange) {
        exchange.close = self.draining;
        self.metrics.refuse("connections");
        self.answer(exchange, Problem::overloaded().into());
    }

    fn forget(&mut self, ended: EndedStream<Exchange>) {
        let EndedStream { id, exchange, sent, why } = ended;
        let lane = exchange.lane();
        let peer = lane.peer;
        let stream = self.streams.remove(id);
        self.count_streams();
        match why {
            StreamEnd::Unknown => return self.refuse_unknown(exchange),
            StreamEnd::TooSlow => {
                self.metrics.streams_cut_off.inc();
                log::info!("cutting {peer} off: it does not read its stream");
            }
            StreamEnd::EndlessHead => self.close_endless(peer),
            StreamEnd::Asked | StreamEnd::Expired | StreamEnd::Gone => {}
        }
        if let (Some(access_log), Some(request)) =
            (&self.access_log, stream.and_then(|stream| stream.request))
        {
            access_log.record(AccessRecord {
                time: self.app.clock().now(),
                id: request,
                client: exchange.trace.client.unwrap_or(peer.ip()),
                user: exchange.trace.caller,
                method: exchange.method(),
                route: exchange.trace.route,
                status: 200,
                bytes: usize::try_from(sent).unwrap_or(usize::MAX),
                took: exchange.begun.elapsed(),
            });
        }
        self.outbox.discard(exchange.request);
        self.end(lane);
    }
}

#[cfg(test)]
mod tests;
