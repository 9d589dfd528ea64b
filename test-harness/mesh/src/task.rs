//! Tasks that end, with their sockets, before the value that stands for them is gone.

use std::convert::Infallible;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// How long an aborted task may take to be dropped. It is at an `await`, so this is a matter of a free worker thread.
const PATIENCE: Duration = Duration::from_secs(10);

/// What each future of a [`Task`] holds, so that its end is noticed.
pub(crate) type Alive = Sender<Infallible>;

/// A task on the runtime. Dropping this ends it and whatever else holds its [`Alive`], and waits for that.
///
/// Not to be dropped on the runtime's only worker thread, which has to drop the task's future.
pub(crate) struct Task {
    abort: AbortHandle,
    ended: Mutex<Receiver<Infallible>>,
}

impl Task {
    /// Runs a future that owns its [`Alive`], within futures that it spawns into sets of its own as well.
    pub(crate) fn spawn<F>(runtime: &Handle, future: impl FnOnce(Alive) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (alive, ended) = channel();
        let abort = runtime.spawn(future(alive)).abort_handle();
        Self { abort, ended: Mutex::new(ended) }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.abort.abort();
        // Nothing is ever sent: this returns once all senders are gone.
        let _ = self.ended.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(PATIENCE);
    }
}
