//! State that all VMs of one Envoy process share: statistics, and shared data per `vm_id`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::abi::Status;

/// Statistics and shared data. Clones are the same state; give one to several VMs that are to share it.
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
