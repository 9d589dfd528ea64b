//! The VM that runs a module.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::state::abi::LogLevel;
use crate::state::calls::HttpResponse;
use crate::state::crossings::Crossings;
use crate::state::grpc::Event;
use crate::state::log::LogLine;
use crate::state::options::VmOptions;
use crate::state::shared::{Listener, SharedState};
use crate::vm::engine::Engine;
use crate::vm::error::LoadError;
use crate::vm::events::{self, Due};
use crate::vm::host::{Cx, Host};
use crate::vm::instance::Instance;

/// How many rounds of queue callbacks may follow each other before two modules that fill each other's queues are
/// stopped.
const ROUNDS: usize = 1000;

/// A VM with one module, in which any number of plugins and streams live. Clones are the same VM.
#[derive(Clone)]
pub struct Vm {
    pub(super) instance: Rc<RefCell<Instance>>,
}

impl Vm {
    /// Loads a module, given in binary form or as text.
    ///
    /// # Errors
    /// When it is not a valid module, imports what Envoy does not offer, is for another ABI than 0.1.0, 0.2.0 or 0.2.1,
    /// or traps while it starts.
    pub fn new(engine: &Engine, wasm: &[u8], options: VmOptions) -> Result<Self, LoadError> {
        let shared = options.shared.clone();
        let instance = Instance::new(engine, wasm, Host::new(options));
        let instance = instance.map_err(|reason| LoadError { reason, log: Vec::new() })?;
        let vm = Self { instance: Rc::new(RefCell::new(instance)) };
        let as_listener: Rc<dyn Listener> = vm.instance.clone();
        let listener = shared.listen(Rc::downgrade(&as_listener));
        vm.with_host(|host| host.listener = listener);
        let started = vm.instance.borrow_mut().start();
        started.map_err(|reason| vm.load_error(reason))?;
        Ok(vm)
    }

    /// Everything that was logged so far.
    #[must_use]
    pub fn log(&self) -> Vec<LogLine> {
        self.with_host(|host| host.log.clone())
    }

    /// Takes the log, leaving it empty.
    #[must_use]
    pub fn take_log(&self) -> Vec<LogLine> {
        self.with_host(|host| std::mem::take(&mut host.log))
    }

    /// Asserts that a line of this level was logged that contains the text.
    ///
    /// # Panics
    /// When there is no such line; the message has all lines.
    #[track_caller]
    pub fn assert_logged(&self, level: LogLevel, text: &str) {
        let log = self.log();
        if !log.iter().any(|line| line.level == level && line.text.contains(text)) {
            let lines: Vec<String> = log.iter().map(|l| format!("  {:?}: {}", l.level, l.text)).collect();
            panic!("no {level:?} line with {text:?} was logged; these were:\n{}", lines.join("\n"));
        }
    }

    /// How often the module and Envoy have called each other so far.
    #[must_use]
    pub fn crossings(&self) -> Crossings {
        self.with_host(|host| host.crossings.clone())
    }

    /// Takes the counts, which begin anew: of one exchange if this is called before and after it.
    #[must_use]
    pub fn take_crossings(&self) -> Crossings {
        self.with_host(|host| std::mem::take(&mut host.crossings))
    }

    /// Why the VM is dead, if it is.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.with_host(|host| host.failed.clone())
    }

    /// Things the module did that have no defined outcome in Envoy: writes into a body that is gone, or
    /// continuing what has not begun. Empty for a correct module.
    #[must_use]
    pub fn hazards(&self) -> Vec<String> {
        self.with_host(|host| host.hazards.clone())
    }

    /// Why host functions refused something where their status alone does not say, as for a call to a cluster that
    /// does not exist. They are for the author of the test; the module does not see it.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        self.with_host(|host| host.hints.clone())
    }

    /// Statistics, shared data and queues.
    #[must_use]
    pub fn shared(&self) -> SharedState {
        self.with_host(|host| host.shared.clone())
    }

    /// Memory that the module has, in bytes. It never shrinks.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        self.instance.borrow_mut().memory_size()
    }

    /// Moves the clock: ticks that are due happen, calls that are late time out as they do in Envoy, and the back-off
    /// time of [`FailPolicy::Reload`](crate::FailPolicy::Reload) passes.
    pub fn advance(&self, time: Duration) {
        let until = self.now() + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2);
        while let Some((at, due)) = self.with_host(|host| events::next(host, until)) {
            self.with_host(|host| host.now = at.max(host.now));
            self.with(|cx| match due {
                Due::Tick(plugin) => events::tick(cx, plugin),
                Due::Timeout(token) => {
                    let answer = HttpResponse::new(504, "upstream request timeout");
                    events::answer(cx, token, Some(answer));
                }
                Due::GrpcTimeout(token) => {
                    events::grpc(cx, token, Event::Close(GRPC_TIMEOUT.0, GRPC_TIMEOUT.1.to_owned()));
                }
            });
        }
        self.with_host(|host| host.now = until);
    }

    /// The clock, in nanoseconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.with_host(|host| host.now)
    }

    /// Changes which clusters exist.
    pub fn set_clusters<S: Into<String>>(&self, clusters: impl IntoIterator<Item = S>) {
        self.with_host(|host| host.clusters = clusters.into_iter().map(Into::into).collect());
    }

    /// Works on the VM; the owners of queues that got items are told afterwards.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Cx<'_>) -> T) -> T {
        let result = f(&mut self.instance.borrow_mut().cx());
        self.tell_queues();
        result
    }

    pub(super) fn with_host<T>(&self, f: impl FnOnce(&mut Host) -> T) -> T {
        f(self.instance.borrow_mut().host())
    }

    pub(super) fn tell_queues(&self) {
        let shared = self.shared();
        for _ in 0..ROUNDS {
            if !shared.tell_ready() {
                return;
            }
        }
        self.with_host(|host| host.hazard("queues fill each other without end"));
    }

    pub(super) fn load_error(&self, reason: String) -> LoadError {
        LoadError { reason, log: self.log() }
    }
}

/// How Envoy ends a gRPC call that is late: its router answers 504, which is `Unavailable`.
const GRPC_TIMEOUT: (u32, &str) = (14, "upstream request timeout{response_timeout}");

impl Listener for RefCell<Instance> {
    fn queue_ready(&self, root: u32, queue: u32) -> bool {
        let Ok(mut instance) = self.try_borrow_mut() else { return false };
        events::queue_ready(&mut instance.cx(), root, queue);
        true
    }
}
