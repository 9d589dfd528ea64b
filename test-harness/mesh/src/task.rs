//! Tasks that end, with their sockets, before the value that stands for them is gone.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// How long an aborted task may take to be dropped. It is at an `await`, so this is a matter of a free worker thread.
const PATIENCE: Duration = Duration::from_secs(10);

/// What each future of a [`Task`] is held with, so that its end is noticed.
#[derive(Clone)]
pub(crate) struct Alive {
    _sender: Sender<Infallible>,
}

impl Alive {
    /// The future, whose end is not noticed before all is dropped that it owns.
    pub(crate) fn hold<F: Future<Output = ()>>(self, future: F) -> Held<F> {
        Held { future: Box::pin(future), _alive: self }
    }
}

/// A future of a [`Task`]. Fields are dropped in order.
pub(crate) struct Held<F> {
    future: Pin<Box<F>>,
    _alive: Alive,
}

impl<F: Future<Output = ()>> Future for Held<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.future.as_mut().poll(context)
    }
}

/// A task on the runtime. Dropping this ends it and the futures that its [`Alive`] holds, and waits for that.
///
/// Not to be dropped on the runtime's only worker thread, which has to drop the task's future.
pub(crate) struct Task {
    abort: AbortHandle,
    ended: Mutex<Receiver<Infallible>>,
}

impl Task {
    /// Runs a future. What it spawns it keeps in sets of its own, which end with it, and holds with its [`Alive`].
    pub(crate) fn spawn<F>(runtime: &Handle, future: impl FnOnce(Alive) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, ended) = channel();
        let alive = Alive { _sender: sender };
        let future = future(alive.clone());
        let abort = runtime.spawn(alive.hold(future)).abort_handle();
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
