//! State that all VMs of one Envoy process share: statistics, and shared data and queues per `vm_id`.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use crate::state::abi::Status;

/// Statistics, shared data and queues. Clones are the same state; give one to several VMs that are to share it.
#[derive(Clone, Default)]
pub struct SharedState {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Default)]
struct Inner {
    counters: BTreeMap<String, u64>,
    gauges: BTreeMap<String, u64>,
    histograms: BTreeMap<String, Vec<u64>>,
    data: BTreeMap<(String, Vec<u8>), (Vec<u8>, u32)>,
    last_cas: u32,
    /// By number, which starts at one.
    queues: Vec<Queue>,
    /// VMs that have queues, by the number under which they are known here, less one.
    listeners: Vec<Weak<dyn Listener>>,
    ready: VecDeque<Ready>,
}

struct Queue {
    vm_id: String,
    name: Vec<u8>,
    /// Who registered it last: a VM and one of its root contexts.
    owner: (usize, u32),
    items: VecDeque<Vec<u8>>,
}

/// A queue has got an item that its owner does not know of yet.
#[derive(Clone, Copy)]
struct Ready {
    owner: (usize, u32),
    queue: u32,
}

/// A VM that is told of its queues.
pub(crate) trait Listener {
    /// Tells a root context that a queue has an item. False: the VM is busy; it will be asked again.
    fn queue_ready(&self, root: u32, queue: u32) -> bool;
}

/// A statistic that a module has defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metric {
    /// A sum.
    Counter(u64),
    /// The last value.
    Gauge(u64),
    /// Every value recorded, in order.
    Histogram(Vec<u64>),
}

/// Kind of a statistic (`proxy_metric_type_t`).
pub(crate) const COUNTER: u32 = 0;
pub(crate) const GAUGE: u32 = 1;
pub(crate) const HISTOGRAM: u32 = 2;

impl SharedState {
    /// Value of a counter, by the name the module gave it (Envoy shows it with `wasmcustom.` in front).
    #[must_use]
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.inner.borrow().counters.get(name).copied()
    }

    /// Value of a gauge.
    #[must_use]
    pub fn gauge(&self, name: &str) -> Option<u64> {
        self.inner.borrow().gauges.get(name).copied()
    }

    /// Values recorded in a histogram, in order.
    #[must_use]
    pub fn histogram(&self, name: &str) -> Option<Vec<u64>> {
        self.inner.borrow().histograms.get(name).cloned()
    }

    /// Every counter that was defined.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.inner.borrow().counters.clone()
    }

    /// Every gauge that was defined.
    #[must_use]
    pub fn gauges(&self) -> BTreeMap<String, u64> {
        self.inner.borrow().gauges.clone()
    }

    /// Every histogram that was defined.
    #[must_use]
    pub fn histograms(&self) -> BTreeMap<String, Vec<u64>> {
        self.inner.borrow().histograms.clone()
    }

    /// Every statistic that was defined, whatever its kind.
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<String, Metric> {
        let inner = self.inner.borrow();
        let counters = inner.counters.iter().map(|(name, value)| (name.clone(), Metric::Counter(*value)));
        let gauges = inner.gauges.iter().map(|(name, value)| (name.clone(), Metric::Gauge(*value)));
        let recorded =
            |(name, values): (&String, &Vec<u64>)| (name.clone(), Metric::Histogram(values.clone()));
        counters.chain(gauges).chain(inner.histograms.iter().map(recorded)).collect()
    }

    /// The items of a queue, oldest first; `None` if no VM has registered it.
    #[must_use]
    pub fn queue(&self, vm_id: &str, name: &str) -> Option<Vec<Vec<u8>>> {
        let inner = self.inner.borrow();
        let found = inner.queues.iter().find(|q| q.vm_id == vm_id && q.name == name.as_bytes())?;
        Some(found.items.iter().cloned().collect())
    }

    /// A shared-data value and its compare-and-swap number.
    #[must_use]
    pub fn data(&self, vm_id: &str, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.inner.borrow().data.get(&(vm_id.to_owned(), key.to_vec())).cloned()
    }

    /// Stores a value; a `cas` other than 0 must be the present value's number.
    ///
    /// # Errors
    /// [`Status::CasMismatch`] when it is not.
    pub fn set_data(&self, vm_id: &str, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        let mut inner = self.inner.borrow_mut();
        let key = (vm_id.to_owned(), key.to_vec());
        if cas != 0 && inner.data.get(&key).is_some_and(|(_, present)| *present != cas) {
            return Err(Status::CasMismatch);
        }
        inner.last_cas = inner.last_cas.wrapping_add(1).max(1);
        let number = inner.last_cas;
        inner.data.insert(key, (value.to_vec(), number));
        Ok(())
    }

    /// Makes a VM known that may register queues.
    pub(crate) fn listen(&self, vm: Weak<dyn Listener>) -> usize {
        let mut inner = self.inner.borrow_mut();
        inner.listeners.push(vm);
        inner.listeners.len()
    }

    /// `SharedQueue::registerQueue`: what is in the queue stays, the owner is the new one.
    pub(crate) fn register_queue(&self, vm_id: &str, name: &[u8], owner: (usize, u32)) -> u32 {
        let mut inner = self.inner.borrow_mut();
        if let Some(at) = inner.queues.iter().position(|q| q.vm_id == vm_id && q.name == name) {
            inner.queues[at].owner = owner;
            return at as u32 + 1;
        }
        let queue = Queue { vm_id: vm_id.to_owned(), name: name.to_vec(), owner, items: VecDeque::new() };
        inner.queues.push(queue);
        inner.queues.len() as u32
    }

    pub(crate) fn resolve_queue(&self, vm_id: &str, name: &[u8]) -> Result<u32, Status> {
        let inner = self.inner.borrow();
        let at = inner.queues.iter().position(|q| q.vm_id == vm_id && q.name == name);
        at.map(|at| at as u32 + 1).ok_or(Status::NotFound)
    }

    pub(crate) fn dequeue(&self, queue: u32) -> Result<Vec<u8>, Status> {
        let mut inner = self.inner.borrow_mut();
        let at = (queue as usize).wrapping_sub(1);
        let found = inner.queues.get_mut(at).ok_or(Status::NotFound)?;
        found.items.pop_front().ok_or(Status::Empty)
    }

    pub(crate) fn enqueue(&self, queue: u32, item: Vec<u8>) -> Result<(), Status> {
        let mut inner = self.inner.borrow_mut();
        let at = (queue as usize).wrapping_sub(1);
        let found = inner.queues.get_mut(at).ok_or(Status::NotFound)?;
        found.items.push_back(item);
        let owner = found.owner;
        inner.ready.push_back(Ready { owner, queue });
        Ok(())
    }

    /// Tells the owners of queues about new items, as Envoy tells its workers when they are idle. False: there was
    /// nothing to tell, or the owners are busy.
    pub(crate) fn tell_ready(&self) -> bool {
        let mut told = false;
        let count = self.inner.borrow().ready.len();
        for _ in 0..count {
            let Some(ready) = self.inner.borrow_mut().ready.pop_front() else { break };
            let vm = self.inner.borrow().listeners.get(ready.owner.0 - 1).and_then(Weak::upgrade);
            match vm.map(|vm| vm.queue_ready(ready.owner.1, ready.queue)) {
                Some(false) => self.inner.borrow_mut().ready.push_back(ready),
                Some(true) => told = true,
                None => {}
            }
        }
        told
    }

    pub(crate) fn define(&self, kind: u32, name: &str) {
        let mut inner = self.inner.borrow_mut();
        match kind {
            COUNTER => drop(inner.counters.entry(name.to_owned()).or_default()),
            GAUGE => drop(inner.gauges.entry(name.to_owned()).or_default()),
            _ => drop(inner.histograms.entry(name.to_owned()).or_default()),
        }
    }

    pub(crate) fn increment(&self, kind: u32, name: &str, offset: i64) -> Status {
        let mut inner = self.inner.borrow_mut();
        match kind {
            COUNTER if offset > 0 => {
                let value = inner.counters.entry(name.to_owned()).or_default();
                *value = value.wrapping_add_signed(offset);
                Status::Ok
            }
            GAUGE => {
                let value = inner.gauges.entry(name.to_owned()).or_default();
                *value = value.wrapping_add_signed(offset);
                Status::Ok
            }
            _ => Status::BadArgument,
        }
    }

    pub(crate) fn record(&self, kind: u32, name: &str, value: u64) -> Status {
        let mut inner = self.inner.borrow_mut();
        match kind {
            COUNTER => {
                let present = inner.counters.entry(name.to_owned()).or_default();
                *present = present.wrapping_add(value);
            }
            GAUGE => drop(inner.gauges.insert(name.to_owned(), value)),
            _ => inner.histograms.entry(name.to_owned()).or_default().push(value),
        }
        Status::Ok
    }

    pub(crate) fn read(&self, kind: u32, name: &str) -> Result<u64, Status> {
        match kind {
            COUNTER => self.counter(name).ok_or(Status::NotFound),
            GAUGE => self.gauge(name).ok_or(Status::NotFound),
            _ => Err(Status::BadArgument),
        }
    }
}
