//! What the loop does for its connections when the watchdog has looked at them.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::Loop;
use crate::http::connections::descriptors::Descriptor;
use crate::http::connections::reaper::{Reason, Sweep};

/// How connections are counted that give way to others.
const SHED: &str = "shed";

impl Loop {
    /// Nothing accepts connections any more. To begin anew at once would end the same way.
    pub(super) fn accept_failed(&mut self, error: &io::Error) {
        if !self.stopping.load(Ordering::SeqCst) {
            log::warn!("cannot accept connections at the moment: {error}");
            // It will see that nobody accepts.
            self.self_probe.report_activity();
        }
    }

    /// Has connections accepted anew, those that wait too as far as there is room for them.
    pub(super) fn renew(&mut self, shed: usize) {
        if self.stopping.load(Ordering::SeqCst) {
            return;
        }
        self.metrics.accept_restarts.inc();
        match self.acceptor.renew(shed) {
            Ok(refused) => {
                log::warn!("accepting connections anew; {refused} that waited are closed");
            }
            // The self-probe will notice, and have it tried again.
            Err(error) => log::warn!("still cannot accept connections: {error}"),
        }
    }

    /// Ends the connections that hold a thread for nothing, and the waits of clients that have
    /// gone.
    pub(super) fn on_sweep(&mut self, sweep: &Sweep) {
        self.outbox.set_stuck(sweep.stuck);
        self.metrics.set_writable(self.app.takes_writes());
        self.metrics.set_connections(sweep.open, sweep.stuck, self.in_flight.len());
        // Who will ask for nothing more may still read: the empty page is for them.
        for peer in &sweep.half_closed {
            self.parking.end(*peer);
        }
        if let Some(connected) = &sweep.connected {
            self.parking.end_all_but(connected, sweep.begun);
        }
        for (descriptor, reason) in &sweep.overdue {
            // What was sent since the look was an answer.
            let since_look = sweep.begun.elapsed();
            let is_answered = descriptor.info().is_none_or(|info| info.since_sent <= since_look);
            match reason {
                Reason::Idle if self.in_flight.is_busy(descriptor.peer) || is_answered => continue,
                Reason::Idle => {
                    self.metrics.close(reason.name());
                    log::debug!("closing {}: it is idle", descriptor.peer);
                }
                // The request that waits may be another one's.
                Reason::EndlessHead if sweep.shared.contains(&descriptor.peer) => {
                    if is_answered {
                        continue;
                    }
                    self.close_endless(descriptor.peer);
                }
                // What is sent behind a request that waits is read no less than before any.
                Reason::EndlessHead if self.end_parked(descriptor.peer) => continue,
                // What was received may have been a body, and this the answer to it.
                Reason::EndlessHead if self.in_flight.is_busy(descriptor.peer) || is_answered => {
                    continue;
                }
                Reason::EndlessHead => self.close_endless(descriptor.peer),
            }
            descriptor.shut_down();
        }
        // A server that stops accepts nothing, so that nobody need give way.
        if sweep.surplus > 0 && !self.draining {
            self.shed(sweep);
        }
    }

    /// Counts a connection that ends because it has sent a head of too much.
    pub(super) fn close_endless(&self, peer: SocketAddr) {
        self.metrics.close(Reason::EndlessHead.name());
        log::info!("closing {peer}: its request has no end");
    }

    /// Has the request that waits answered, if one of the connection does, and the connection ended
    /// behind that. Streams look after this themselves: what they are message is no end of a head.
    fn end_parked(&mut self, peer: SocketAddr) -> bool {
        let waits = self.parking.end_with(peer, |exchange| exchange.close = true);
        if waits {
            self.close_endless(peer);
        }
        waits
    }

    /// Whether a connection waits for something to happen, for one answer or for many.
    fn is_held(&self, peer: SocketAddr) -> bool {
        self.parking.holds(peer) || self.streams.of_peer(peer).is_some()
    }

    /// Has connections give way to others: those without a request first, however short a while
    /// ago they had one, and then those whose request waits. That is answered before the connection
    /// ends: its client has done nothing wrong.
    fn shed(&mut self, sweep: &Sweep) {
        let (waiting, idle): (Vec<&Descriptor>, Vec<_>) =
            sweep.idlest.iter().partition(|descriptor| self.is_held(descriptor.peer));
        let mut shed = 0;
        for descriptor in idle {
            if shed == sweep.surplus {
                break;
            }
            if !self.in_flight.is_busy(descriptor.peer) {
                descriptor.shut_down();
                shed += 1;
            }
        }
        for descriptor in waiting {
            if shed == sweep.surplus {
                break;
            }
            self.parking.end_for_good(descriptor.peer);
            self.end_stream_of(descriptor.peer);
            shed += 1;
        }
        for _ in 0..shed {
            self.metrics.close(SHED);
        }
        if shed > 0 {
            log::warn!("closing {shed} connections, to make room");
        }
    }
}
