//! What the loop does for its connections when the warden has looked at them.

use std::io;
use std::sync::atomic::Ordering;

use super::Loop;
use crate::http::reaper::{Reason, Sweep};

impl Loop {
    /// Nothing accepts connections any more. To begin anew at once would end the same way.
    pub(super) fn mourn(&mut self, error: &io::Error) {
        if !self.stopping.load(Ordering::SeqCst) {
            log::warn!("cannot accept connections at the moment: {error}");
            // It will see that nobody accepts.
            self.pulse.quicken();
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
            // The pulse will notice, and have it tried again.
            Err(error) => log::warn!("still cannot accept connections: {error}"),
        }
    }

    /// Ends the connections that hold a thread for nothing.
    pub(super) fn reap(&mut self, sweep: Sweep) {
        self.outbox.set_stranded(sweep.stranded);
        self.metrics.set_writable(self.app.takes_writes());
        self.metrics.look(sweep.open, sweep.stranded, self.lanes.len());
        let mut shed = 0;
        for (descriptor, reason) in sweep.overdue {
            // A server that stops accepts nothing, so that nobody need give way.
            let in_vain = reason == Reason::Shed && self.draining;
            if in_vain || self.lanes.is_busy(descriptor.peer) {
                continue;
            }
            self.connections.shut_down(descriptor);
            self.metrics.close(reason.name());
            match reason {
                Reason::Idle => log::debug!("closing {}: it is idle", descriptor.peer),
                Reason::EndlessHead => {
                    log::info!("closing {}: its request has no end", descriptor.peer);
                }
                Reason::Shed => shed += 1,
            }
        }
        if shed > 0 {
            log::warn!("closing {shed} connections, to make room");
        }
    }
}
