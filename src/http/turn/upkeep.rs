//! Upkeep of connections, when the watchdog has had them judged.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::Loop;
use crate::http::connections::descriptors::Descriptor;
use crate::http::connections::reaper::{Reason, Sweep};

/// Label `reason` of connections that are closed to make room.
const SHED: &str = "shed";

impl Loop {
    /// Notes the end of the accept thread. Restarting it at once would end the same way.
    pub(super) fn accept_failed(&mut self, error: &io::Error) {
        if !self.stopping.load(Ordering::SeqCst) {
            log::warn!("the server accepts no connections: {error}");
            // The watchdog checks the accept thread soon.
            self.self_probe.report_activity();
        }
    }

    /// Restarts accepting. Waiting connections are accepted as far as there is room for them.
    pub(super) fn renew(&mut self, shed: usize) {
        if self.stopping.load(Ordering::SeqCst) {
            return;
        }
        self.metrics.accept_restarts.inc();
        match self.acceptor.renew(shed) {
            Ok(refused) => {
                log::warn!(
                    "accepting connections again; {refused} waiting connections were closed"
                );
            }
            // The watchdog tries again.
            Err(error) => log::warn!("the server still accepts no connections: {error}"),
        }
    }

    /// Ends connections that hold a thread for nothing, and the waits of clients that have
    /// disconnected.
    pub(super) fn on_sweep(&mut self, sweep: &Sweep) {
        self.outbox.set_stuck(sweep.stuck);
        self.metrics.set_writable(self.app.takes_writes());
        self.metrics.set_connections(sweep.open, sweep.stuck, self.in_flight.len());
        // A half-closed client may still read, and gets the empty page.
        for peer in &sweep.half_closed {
            self.parking.end(*peer);
        }
        if let Some(connected) = &sweep.connected {
            self.parking.end_all_but(connected, sweep.begun);
        }
        for (descriptor, reason) in &sweep.overdue {
            // Data that was sent since the look was an answer.
            let since_look = sweep.begun.elapsed();
            let is_answered = descriptor.info().is_none_or(|info| info.since_sent <= since_look);
            match reason {
                Reason::Idle if self.in_flight.is_busy(descriptor.peer) || is_answered => continue,
                Reason::Idle => {
                    self.metrics.close(reason.name());
                    log::debug!("closing {}: it is idle", descriptor.peer);
                }
                // The waiting request may be of another connection with this peer.
                Reason::EndlessHead if sweep.shared.contains(&descriptor.peer) => {
                    if is_answered {
                        continue;
                    }
                    self.close_endless(descriptor.peer);
                }
                // The limit applies to bytes after a waiting request too.
                Reason::EndlessHead if self.end_parked(descriptor.peer) => continue,
                // The bytes may have been a body, and the data an answer to it.
                Reason::EndlessHead if self.in_flight.is_busy(descriptor.peer) || is_answered => {
                    continue;
                }
                Reason::EndlessHead => self.close_endless(descriptor.peer),
            }
            descriptor.shut_down();
        }
        // A stopping server accepts no connections, so it needs no room.
        if sweep.surplus > 0 && !self.draining {
            self.shed(sweep);
        }
    }

    /// Reports a connection that ends because of an overlong head.
    pub(super) fn close_endless(&self, peer: SocketAddr) {
        self.metrics.close(Reason::EndlessHead.name());
        log::info!("closing {peer}: its request head is too long");
    }

    /// Ends a connection's wait, and has the connection end with the reply. Returns whether it has
    /// one. For streams, the broadcaster does this: the data that they send does not end a head.
    fn end_parked(&mut self, peer: SocketAddr) -> bool {
        let waits = self.parking.end_with(peer, |exchange| exchange.close = true);
        if waits {
            self.close_endless(peer);
        }
        waits
    }

    /// Returns whether a connection has a waiting request or a stream.
    fn is_held(&self, peer: SocketAddr) -> bool {
        self.parking.holds(peer) || self.streams.of_peer(peer).is_some()
    }

    /// Closes connections to make room. Those without a request come first, however recently they
    /// had one, then those with a waiting request, which is answered first, as its client is not at
    /// fault.
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
            self.parking.end_and_close(descriptor.peer);
            self.end_stream_of(descriptor.peer);
            shed += 1;
        }
        for _ in 0..shed {
            self.metrics.close(SHED);
        }
        if shed > 0 {
            log::warn!("closing {shed} connections to make room");
        }
    }
}
