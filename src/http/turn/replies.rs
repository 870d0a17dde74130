//! The loop's steps for a reply: collection during a turn, and release after its sync.

use std::borrow::Cow;
use std::mem;

use super::{Loop, MAX_TURN_BYTES};
use crate::api::Reply;
use crate::http::monitoring::access_log::AccessRecord;
use crate::http::replies::outbox::{OutboxFull, SendOutcome};
use crate::http::requests::exchange::{Exchange, PipelineId};
use crate::problem::Problem;

impl Loop {
    /// Returns whether the turn has room for more replies.
    pub(super) fn has_room(&self) -> bool {
        self.reply_bytes < MAX_TURN_BYTES
    }

    pub(super) fn answer(&mut self, exchange: Exchange, mut reply: Reply) {
        // A body that is part of the program takes no memory. A body that is only measured takes as
        // long to make as one that is sent.
        if matches!(reply.body, Cow::Owned(_)) || reply.withheld > 0 {
            let bytes = reply.content_length();
            self.reply_bytes += bytes;
            self.shares.count(&exchange, self.app.proxies(), bytes);
        }
        if exchange.is_head() {
            reply.withhold();
        }
        self.replies.push((exchange, reply));
    }

    /// Releases the turn's replies.
    pub(super) fn release(&mut self) {
        let now = self.app.clock().now();
        self.metrics.timings.replies(self.replies.len());
        self.outbox.begin_turn();
        self.metrics.set_unread(self.outbox.unread_bytes());
        self.reply_bytes = 0;
        for (mut exchange, mut reply) in mem::take(&mut self.replies) {
            let pipeline = exchange.pipeline();
            if let Err(full) = self.outbox.has_room(&exchange, &reply) {
                self.metrics.refuse(full.name());
                reply = full.problem().into();
                // Replies to its queued requests would be refused too.
                exchange.close |= full == OutboxFull::Reader;
            }
            self.app.cors().share(|| exchange.origin(), &mut reply);
            let id = self.ids.of(&exchange);
            let took = exchange.begun.elapsed();
            let worked = took.saturating_sub(exchange.parked);
            self.request_metrics.count(exchange.trace.route, reply.status, worked);
            if let Some(access_log) = &self.access_log {
                access_log.record(AccessRecord {
                    time: now,
                    id: id.clone(),
                    client: exchange.trace.client.unwrap_or(pipeline.peer.ip()),
                    user: exchange.trace.caller,
                    method: exchange.method(),
                    route: exchange.trace.route,
                    status: reply.status,
                    bytes: reply.content_length(),
                    took,
                });
            }
            match self.outbox.send(exchange, reply, &id, now) {
                SendOutcome::Sent => self.release_pipeline(pipeline),
                SendOutcome::Queued => {}
                SendOutcome::Ended => self.end(pipeline),
                SendOutcome::Refused(request) => {
                    self.inspector.end(pipeline.peer);
                    self.end(pipeline);
                    if let Some(request) = request {
                        self.outbox.discard(request);
                    }
                }
            }
        }
    }

    /// Forgets a connection that has ended. Its queued requests may be of a new connection from the
    /// same port; they continue when that is known.
    pub(super) fn end(&mut self, pipeline: PipelineId) {
        let Some(pipeline) = self.in_flight.end(pipeline) else { return };
        if let Some(parked) = self.parking.remove(pipeline.peer) {
            self.outbox.discard(parked.exchange.request);
        }
        self.release_pipeline(pipeline);
    }

    /// Answers all requests with 500, as the store has failed: their writes may or may not have
    /// happened.
    pub(super) fn refuse_all(&mut self) {
        self.refuse_parked();
        self.refuse_streams();
        for (_, reply) in &mut self.replies {
            *reply = Problem::internal().into();
        }
        self.release();
    }
}
