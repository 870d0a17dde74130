//! Tests that bring crowds run alone; the others run as the harness likes.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::extent::Extent;

/// The right to run servers, held by everything in a test that does.
pub(crate) struct Pass {
    alone: bool,
}

struct Running {
    /// The number of tests that share the machine.
    shared: usize,
    /// True if one test has it for itself.
    alone: bool,
    /// Tests that want it for themselves; they go first, or they never would.
    want_alone: usize,
}

static RUNNING: Mutex<Running> = Mutex::new(Running { shared: 0, alone: false, want_alone: 0 });
static CHANGED: Condvar = Condvar::new();

thread_local! {
    /// The pass of the test that this thread runs.
    static MINE: RefCell<Weak<Pass>> = const { RefCell::new(Weak::new()) };
}

/// For a test that can run beside others; the pass that the test already has, if there is one.
pub(crate) fn shared() -> Rc<Pass> {
    enter(false)
}

/// For a test that takes most of the machine in a long run. To be called before anything is
/// started.
pub(crate) fn crowded() -> Rc<Pass> {
    const ALONE: Extent<bool> = Extent { short: false, long: true };
    enter(ALONE.now())
}

fn enter(alone: bool) -> Rc<Pass> {
    MINE.with_borrow_mut(|mine| {
        if let Some(pass) = mine.upgrade() {
            assert!(pass.alone || !alone, "a test that runs alone must say so first");
            return pass;
        }
        let pass = Rc::new(Pass::wait(alone));
        *mine = Rc::downgrade(&pass);
        pass
    })
}

impl Pass {
    fn wait(alone: bool) -> Pass {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.want_alone += usize::from(alone);
        let blocked = |running: &mut Running| {
            running.alone || if alone { running.shared > 0 } else { running.want_alone > 0 }
        };
        running = CHANGED.wait_while(running, blocked).unwrap_or_else(PoisonError::into_inner);
        if alone {
            running.want_alone -= 1;
            running.alone = true;
        } else {
            running.shared += 1;
        }
        Pass { alone }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if self.alone {
            running.alone = false;
        } else {
            running.shared -= 1;
        }
        CHANGED.notify_all();
    }
}
