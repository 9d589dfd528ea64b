//! The recording server.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::Request;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};

use crate::frames::{Frames, Watched};
use crate::play::{Exchange, Observer, Stopped, to_headers};
use crate::record::Recorded;
use crate::script::{Headers, Script};

/// HTTP/2 window of a stream and of a connection, in bytes: large enough that tests of the filters are not
/// tests of this server's flow control.
pub(crate) const WINDOW: u32 = 16 << 20;

type Computed = dyn Fn(&Recorded) -> Script + Send + Sync;

#[derive(Clone)]
enum Answer {
    Fixed(Script),
    Computed(Arc<Computed>),
}

/// A scriptable HTTP/2 server on a free loopback port. It runs in a thread of its own and ends when dropped.
pub struct OddServer {
    address: SocketAddr,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// [`OddServer::wait_for`] gave up.
#[derive(Debug)]
pub struct TimedOut {
    /// What was recorded until then.
    pub requests: Vec<Recorded>,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the awaited requests did not come; {} did: {:?}", self.requests.len(), self.requests)
    }
}

impl std::error::Error for TimedOut {}

#[derive(Default)]
struct State {
    answers: Mutex<Answers>,
    requests: Mutex<Vec<Recorded>>,
    /// The places in `requests` that may be taken again, in a server that forgets.
    free: Option<Mutex<Vec<usize>>>,
    changed: Condvar,
}

#[derive(Default)]
struct Answers {
    by_case: HashMap<String, Answer>,
    by_path: HashMap<String, Answer>,
    default: Option<Answer>,
}

impl OddServer {
    /// Starts a server. Until scripts are given, it answers everything with status 12, trailers-only.
    ///
    /// # Errors
    /// If there is no free loopback port, or no thread can be started.
    pub fn start() -> io::Result<Self> {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Starts a server on an address of the caller's choice.
    ///
    /// # Errors
    /// If the address cannot be bound, or no thread can be started.
    pub fn start_on(address: SocketAddr) -> io::Result<Self> {
        Self::serve(address, State::default())
    }

    /// Starts a server that forgets a request once it is answered, for tests of many requests or large ones. What
    /// is under way is recorded as usual, so answers can be computed.
    ///
    /// # Errors
    /// If there is no free loopback port, or no thread can be started.
    pub fn start_forgetful() -> io::Result<Self> {
        Self::serve(
            (Ipv4Addr::LOCALHOST, 0).into(),
            State { free: Some(Mutex::default()), ..State::default() },
        )
    }

    fn serve(address: SocketAddr, state: State) -> io::Result<Self> {
        let state = Arc::new(state);
        let served = state.clone();
        let background =
            Background::start("odd-server", address, move |socket| serve(socket, served.clone()))?;
        let Background { address, stop, thread } = background;
        Ok(Self { address, state, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The script for requests whose `x-case` header is `case`.
    pub fn script(&self, case: &str, script: Script) {
        lock(&self.state.answers).by_case.insert(case.into(), Answer::Fixed(script));
    }

    /// The script for requests to `path`, such as `/inference.GRPCInferenceService/ServerLive`, unless
    /// `x-case` decides.
    pub fn script_for_path(&self, path: &str, script: Script) {
        lock(&self.state.answers).by_path.insert(path.into(), Answer::Fixed(script));
    }

    /// The script for all other requests.
    pub fn default_script(&self, script: Script) {
        lock(&self.state.answers).default = Some(Answer::Fixed(script));
    }

    /// Computes the script for `case` from the request, which is read to its end first.
    pub fn compute(&self, case: &str, answer: impl Fn(&Recorded) -> Script + Send + Sync + 'static) {
        lock(&self.state.answers).by_case.insert(case.into(), Answer::Computed(Arc::new(answer)));
    }

    /// Computes the script for all other requests from the request, which is read to its end first.
    pub fn compute_default(&self, answer: impl Fn(&Recorded) -> Script + Send + Sync + 'static) {
        lock(&self.state.answers).default = Some(Answer::Computed(Arc::new(answer)));
    }

    /// Every request so far that is not forgotten, in the order they came. Unfinished ones are as far as they have got.
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.state.requests).clone()
    }

    /// Waits until the recorded requests are as `enough` wants them.
    ///
    /// # Errors
    /// If that does not happen within `bound`.
    pub fn wait_until(
        &self,
        bound: Duration,
        mut enough: impl FnMut(&[Recorded]) -> bool,
    ) -> Result<Vec<Recorded>, TimedOut> {
        let deadline = Instant::now() + bound;
        let mut requests = lock(&self.state.requests);
        loop {
            if enough(&requests) {
                return Ok(requests.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TimedOut { requests: requests.clone() });
            }
            let waited = self.state.changed.wait_timeout(requests, left);
            requests = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until `count` requests have ended, one way or the other.
    ///
    /// # Errors
    /// If that does not happen within `bound`.
    pub fn wait_for(&self, count: usize, bound: Duration) -> Result<Vec<Recorded>, TimedOut> {
        self.wait_until(bound, |all| all.iter().filter(|r| r.ended || r.reset.is_some()).count() >= count)
    }
}

impl Drop for OddServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread has ended already if the channel is closed.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

/// A listener and its accept loop on a thread of their own.
pub(crate) struct Background {
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) thread: JoinHandle<()>,
}

impl Background {
    pub(crate) fn start<F>(
        name: &str,
        address: SocketAddr,
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let accept = async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            loop {
                // A failed accept is the peer's: the next one may succeed.
                if let Ok((socket, _)) = listener.accept().await {
                    // Only delays answers where it cannot be set.
                    let _ = socket.set_nodelay(true);
                    tokio::spawn(serve(socket));
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, stop, thread })
    }
}

/// How many streams may have been reset before they are accepted.
const RESETS: usize = 10_000;

async fn serve(socket: TcpStream, state: Arc<State>) {
    let frames = Frames::default();
    let socket = Watched::new(socket, frames.clone());
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    // A filter that refuses a request whose headers have gone out resets it, and a test may send a thousand of them:
    // h2 would take that for an attack (CVE-2023-44487) and refuse streams.
    builder.max_pending_accept_reset_streams(RESETS).max_local_error_reset_streams(None);
    let hang_up = Arc::new(Notify::new());
    if let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await {
        loop {
            let accepted = tokio::select! {
                accepted = connection.accept() => accepted,
                () = hang_up.notified() => break,
            };
            // The connection's end, or an error that ends it.
            let Some(Ok((request, respond))) = accepted else { break };
            let index = state.begin(&request);
            let (state, frames, hang_up) = (state.clone(), frames.clone(), hang_up.clone());
            tokio::spawn(async move {
                answer(&state, index, request.into_body(), respond, frames, &hang_up).await;
            });
        }
    }
    frames.close();
}

/// Answers one request.
async fn answer(
    state: &State,
    index: usize,
    request: RecvStream,
    respond: SendResponse<Bytes>,
    frames: Frames,
    hang_up: &Notify,
) {
    let entry = Entry { state, index };
    let mut exchange = Exchange::new(request, respond, frames.clone(), &entry);
    let played = match state.answer_to(index) {
        Some(Answer::Fixed(script)) => exchange.play(script).await,
        Some(Answer::Computed(compute)) => match exchange.read(usize::MAX).await {
            Ok(()) => {
                let recorded = state.read(index);
                exchange.play(compute(&recorded)).await
            }
            Err(stopped) => Err(stopped),
        },
        None => exchange.play(Script::trailers_only(12, "no script for this request")).await,
    };
    match played {
        Ok(()) => entry.update(|r| r.answered = true),
        Err(Stopped::Peer) => {}
        Err(Stopped::HangUp) => {
            entry.update(|r| r.answered = true);
            hang_up.notify_one();
            // Until the connection is gone, dropping the exchange would reset the stream in an orderly way.
            frames.closed().await;
        }
        Err(Stopped::Fault(fault)) => {
            exchange.respond.send_reset(Reason::INTERNAL_ERROR);
            entry.update(|r| r.fault = Some(fault));
        }
    }
    state.forget(index);
}

impl State {
    fn begin(&self, request: &Request<RecvStream>) -> usize {
        let uri = request.uri();
        let recorded = Recorded {
            method: request.method().as_str().into(),
            path: uri.path_and_query().map_or_else(String::new, |p| p.as_str().into()),
            authority: uri.authority().map(|a| a.as_str().into()),
            headers: to_headers(request.headers()),
            ..Recorded::default()
        };
        let free = self.free.as_ref().and_then(|free| lock(free).pop());
        let mut requests = lock(&self.requests);
        let index = free.unwrap_or(requests.len());
        match requests.get_mut(index) {
            Some(place) => *place = recorded,
            None => requests.push(recorded),
        }
        self.changed.notify_all();
        index
    }

    /// A request that has been read to its end.
    fn read(&self, index: usize) -> Recorded {
        let place = &mut lock(&self.requests)[index];
        if self.free.is_some() { std::mem::take(place) } else { place.clone() }
    }

    fn forget(&self, index: usize) {
        if let Some(free) = &self.free {
            lock(&self.requests)[index] = Recorded::default();
            lock(free).push(index);
            self.changed.notify_all();
        }
    }

    fn answer_to(&self, index: usize) -> Option<Answer> {
        let requests = lock(&self.requests);
        let request = &requests[index];
        let answers = lock(&self.answers);
        let case = request.header("x-case").and_then(|v| std::str::from_utf8(v).ok());
        case.and_then(|case| answers.by_case.get(case))
            .or_else(|| answers.by_path.get(&request.path))
            .or(answers.default.as_ref())
            .cloned()
    }
}

/// A request's record.
struct Entry<'a> {
    state: &'a State,
    index: usize,
}

impl Entry<'_> {
    fn update(&self, change: impl FnOnce(&mut Recorded)) {
        change(&mut lock(&self.state.requests)[self.index]);
        self.state.changed.notify_all();
    }
}

impl Observer for Entry<'_> {
    fn body(&self, bytes: &[u8]) {
        self.update(|r| r.body.extend_from_slice(bytes));
    }

    fn ended(&self, trailers: Option<Headers>) {
        self.update(|r| (r.ended, r.trailers) = (true, trailers));
    }

    fn reset(&self, code: u32) {
        self.update(|r| r.reset = Some(code));
    }
}

/// No holder of these locks panics while changing what they guard.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
