//! The streams of a configuration that wait for its next event.

use proxy_wasm::hostcalls;
use std::cell::RefCell;
use std::rc::{Rc, Weak};

/// Something that waits for an event.
pub(crate) trait Wake {
    /// There was one. Runs in the callbacks of the waiting context.
    fn woken(&self);
}

/// Those that wait.
#[derive(Clone, Default)]
pub(crate) struct Waiting(Rc<RefCell<Vec<Waiter>>>);

/// One that waits, behind the number of its context.
type Waiter = (u32, Weak<dyn Wake>);

impl Waiting {
    pub(crate) fn add(&self, context: u32, who: Weak<dyn Wake>) {
        self.0.borrow_mut().push((context, who));
    }

    /// Wakes them, in a callback of the root context `root`. What they have Envoy do, it does when this callback has
    /// returned.
    pub(crate) fn wake(&self, root: u32) {
        let waiting = self.0.take();
        if waiting.is_empty() {
            return;
        }
        for (context, who) in waiting {
            // A stream that is gone is a context that is gone.
            let Some(who) = who.upgrade() else { continue };
            if hostcalls::set_effective_context(context).is_ok() {
                who.woken();
            }
        }
        let _ours = hostcalls::set_effective_context(root);
    }
}
