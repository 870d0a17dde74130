//! Streams in a turn. After its sync, new events are sent to the live streams, and pages to those
//! that catch up. [`registry`](crate::http::streams::registry) explains why each event is sent
//! exactly once.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Loop;
use crate::api::stream::{self, MAX_PAGE_BYTES, StreamPage, Subscription};
use crate::http::monitoring::access_log::AccessRecord;
use crate::http::requests::exchange::Exchange;
use crate::http::requests::parking::ParkingFull;
use crate::http::streams::protocol::{
    EndedStream, StreamCommand, StreamEnd, StreamId, StreamMessage, StreamOpening, StreamSegment,
};
use crate::http::streams::registry::{DESCRIPTORS, PendingStream};
use crate::problem::Problem;

/// Pages that a turn reads, at most, so that other requests do not wait for all streams that catch
/// up.
const MAX_PAGES: usize = 16;
/// The same while there are tasks to handle, which go first.
const MAX_PAGES_BESIDE: usize = 4;
/// Bytes of pages that a turn sends, at most, in addition to its replies.
const MAX_PAGES_BYTES: usize = 512 * 1024;
/// Longest page; see [`MAX_PAGE_BYTES`].
const LONGEST_PAGE_BYTES: usize = 2 * MAX_PAGE_BYTES;
/// Batches of some hundred events that a turn reads, at most. Events that no subscriber may see
/// take nothing of the broadcaster's limits.
const MAX_EVENT_BATCHES: usize = 16;
/// `Retry-After` of a stream that finds no room, in seconds.
const RETRY_AFTER_SECONDS: u64 = 5;
/// Time between checks whether the broadcaster has room again.
pub(super) const CATCH_UP_INTERVAL: Duration = Duration::from_millis(10);

impl Loop {
    /// Answers with a stream, after the sync.
    pub(super) fn stream(&mut self, exchange: Exchange, subscription: Box<Subscription>) {
        if exchange.is_head() {
            return self.answer(exchange, subscription.reply);
        }
        let free = self.parking.free_descriptors();
        match self.streams.admit(exchange.peer(), &subscription, free) {
            Ok(id) => {
                self.count_streams();
                self.streams.open(PendingStream { id, exchange, subscription });
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
        self.parking.set_stream_descriptors(self.streams.len() * DESCRIPTORS);
        self.metrics.set_streams(self.streams.len());
    }

    /// Returns whether streams have work that needs no wake-up.
    pub(super) fn has_to_stream(&self) -> bool {
        self.streams.is_due() && !self.broadcaster.is_full()
            || self.streams.is_behind && !self.broadcaster.is_behind()
    }

    /// Time of the next check whether they have, while the broadcaster has no room.
    pub(super) fn next_stream_check(&self) -> Option<Instant> {
        let waits = self.streams.is_behind || self.streams.is_due();
        waits.then(|| Instant::now() + CATCH_UP_INTERVAL)
    }

    /// Begins this turn's streams, and sends events, read marks and pages.
    pub(super) fn update_streams(&mut self) {
        if self.streams.is_empty() {
            // They are dropped, or they would accumulate.
            drop(self.app.read_marks());
            return;
        }
        for pending in self.streams.take_opening() {
            self.begin_stream(pending);
        }
        self.publish();
        self.send_read_marks();
        self.send_pages();
        self.broadcaster.notify();
    }

    /// Sends pages to streams that are not live, in turn, as far as the turn has room for them.
    fn send_pages(&mut self) {
        let max_pages = if self.has_tasks() { MAX_PAGES_BESIDE } else { MAX_PAGES };
        let mut bytes = 0;
        for _ in 0..max_pages {
            if bytes + LONGEST_PAGE_BYTES > MAX_PAGES_BYTES || self.broadcaster.is_full() {
                break;
            }
            let Some(id) = self.streams.next_due() else { break };
            bytes += self.send_page(id);
        }
    }

    fn begin_stream(&mut self, pending: PendingStream) {
        let PendingStream { id, mut exchange, subscription } = pending;
        let Subscription { mut reply, user, time_left, .. } = *subscription;
        let peer = exchange.peer();
        self.app.cors().share(|| exchange.origin(), &mut reply);
        let request = self.ids.of(&exchange);
        let now = self.app.clock().now();
        let head = self.outbox.head_of_stream(&mut exchange, &reply, &request, now);
        self.request_metrics.count(exchange.trace.route, reply.status, exchange.begun.elapsed());
        let mut ends_at_once = self.draining || self.in_flight.has_next(peer);
        if let Some(stream) = self.streams.get_mut(id) {
            stream.request = Some(request);
            ends_at_once |= stream.ends_at_once;
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
        // Its client has sent another request already.
        if ends_at_once {
            self.end_stream(id);
        } else {
            self.streams.queue_for_page(id);
        }
    }

    /// Sends new events to the live streams, as far as the broadcaster has room.
    fn publish(&mut self) {
        let end = self.app.next_event();
        self.streams.advance(end);
        if !self.streams.is_live() {
            self.streams.published = end;
        }
        for _ in 0..MAX_EVENT_BATCHES {
            if self.streams.published >= end || self.broadcaster.is_behind() {
                break;
            }
            let streams = &self.streams;
            let batch = self.app.news(streams.published, |user| streams.has_user(user));
            let Some((events, next)) = batch else {
                // Events that cannot be read are not tried again in each turn. The clients connect
                // again, and each gets what can be read.
                self.end_all_streams();
                self.streams.published = end;
                break;
            };
            self.streams.published = next;
            let segments = events.into_iter().map(|batch| StreamSegment {
                to: batch.to,
                chunk: self.broadcaster.chunk(&batch.bytes),
            });
            let segments: Vec<_> = segments.collect();
            if !segments.is_empty() {
                self.broadcaster.send(StreamCommand::Publish(segments));
            }
        }
        self.streams.is_behind = self.streams.published < end;
    }

    /// Sends new read marks to their users' streams, live or not, as they are not
    /// repeated.
    fn send_read_marks(&mut self) {
        for mark in self.app.read_marks() {
            let ids = self.streams.of_user(mark.user);
            if !ids.is_empty() {
                let chunk = self.broadcaster.chunk(&stream::read_mark_event(mark));
                self.broadcaster.send(StreamCommand::Notify { ids: ids.to_vec(), chunk });
            }
        }
    }

    /// Sends a page to a stream that is not live, and marks it live if that page is the last.
    /// Returns the length of the page.
    fn send_page(&mut self, id: StreamId) -> usize {
        let (published, end) = (self.streams.published, self.app.next_event());
        let Some(stream) = self.streams.get_mut(id) else { return 0 };
        if stream.from > end {
            let from = stream.from;
            self.streams.wait_until(from, id);
            return 0;
        }
        let Some(page) = self.app.stream_page(stream.user, stream.from) else {
            self.end_stream(id);
            return 0;
        };
        let StreamPage { bytes, next, is_last } = page;
        stream.from = next;
        // If the live streams are behind too, the stream joins them once they have caught up.
        let is_last = is_last && published == next;
        let page = (!bytes.is_empty()).then(|| self.broadcaster.chunk(&bytes));
        if is_last {
            self.streams.go_live(id);
        }
        self.broadcaster.send(StreamCommand::Page { id, page, is_last });
        bytes.len()
    }

    /// Ends a stream. If it has not begun, it ends right after its beginning: the broadcaster would
    /// ignore an earlier command, and the stream would never end.
    pub(super) fn end_stream(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id)
            && stream.request.is_none()
        {
            stream.ends_at_once = true;
            return;
        }
        self.broadcaster.send(StreamCommand::End(id));
        self.broadcaster.notify();
    }

    /// Ends the stream of a connection, if it has one.
    pub(super) fn end_stream_of(&mut self, peer: SocketAddr) {
        if let Some(id) = self.streams.of_peer(peer) {
            self.end_stream(id);
        }
    }

    /// Ends all streams.
    pub(super) fn end_all_streams(&mut self) {
        for id in self.streams.all() {
            self.end_stream(id);
        }
    }

    /// Answers this turn's streams with 500, as the store has failed.
    pub(super) fn refuse_streams(&mut self) {
        for PendingStream { exchange, .. } in self.streams.take_opening() {
            self.answer(exchange, Problem::internal().into());
        }
    }

    /// Handles a report of the broadcaster.
    pub(super) fn on_stream_message(&mut self, message: StreamMessage) {
        match message {
            StreamMessage::PageSent(id) => self.streams.queue_for_page(id),
            StreamMessage::Ended(ended) => self.forget(ended),
        }
    }

    /// Refuses a stream whose connection is unknown. Nothing was sent on it.
    fn refuse_unknown(&mut self, mut exchange: Exchange) {
        exchange.close = self.draining;
        self.metrics.refuse("connections");
        self.answer(exchange, Problem::overloaded().into());
    }

    fn forget(&mut self, ended: EndedStream<Exchange>) {
        let EndedStream { id, exchange, sent, reason } = ended;
        let pipeline = exchange.pipeline();
        let peer = pipeline.peer;
        let stream = self.streams.remove(id);
        self.count_streams();
        match reason {
            StreamEnd::UnknownConnection => return self.refuse_unknown(exchange),
            StreamEnd::TooSlow => {
                self.metrics.streams_cut_off.inc();
                log::info!("cutting {peer} off: it does not keep up with its stream");
            }
            StreamEnd::EndlessHead => self.close_endless(peer),
            StreamEnd::Requested | StreamEnd::Expired | StreamEnd::Disconnected => {}
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
        self.end(pipeline);
    }
}

#[cfg(test)]
mod tests;
