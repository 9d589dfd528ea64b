//! Envoy's functions for policies, as what a policy sees.

#![allow(unsafe_code)]

use super::abi::{self, ACTIVE_REQUESTS, EnvoyLb, EnvoyLbConfig, EnvoyLbContext, HEALTHY};
use crate::abi::{EnvoyBuffer, SUCCESS};
use filter_api::{HostList, HostMetadata, Hosts, LbRequest, Metric};
use std::marker::PhantomData;

/// A cluster's endpoints, inside one hook.
///
/// The lifetime keeps it from outliving the hook; the pointer keeps it on the hook's thread.
#[derive(Clone, Copy)]
pub(super) struct Endpoints<'hook> {
    lb: *mut EnvoyLb,
    hook: PhantomData<&'hook ()>,
}

impl Endpoints<'_> {
    /// Wraps the pointer that Envoy gave to a hook.
    ///
    /// # Safety
    /// `lb` is the pointer that Envoy passed to the hook which is running on this thread, and `'hook` ends before that
    /// hook returns.
    pub(super) unsafe fn new(lb: *mut EnvoyLb) -> Self {
        Self { lb, hook: PhantomData }
    }
}

impl Hosts for Endpoints<'_> {
    fn priorities(&self) -> u32 {
        // SAFETY: the object is valid during the hook.
        let count = unsafe { abi::priorities(self.lb) };
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn count(&self, list: HostList, priority: u32) -> usize {
        let count = match list {
            HostList::All => abi::hosts_count,
            HostList::Healthy => abi::healthy_hosts_count,
        };
        // SAFETY: the object is valid during the hook.
        unsafe { count(self.lb, priority) }
    }

    fn address(&self, list: HostList, priority: u32, index: usize) -> &[u8] {
        let address = match list {
            HostList::All => abi::host_address,
            HostList::Healthy => abi::healthy_host_address,
        };
        let mut found = EnvoyBuffer::EMPTY;
        // SAFETY: the object is valid during the hook. The lists are the worker's own and do not change during one of
        // its hooks, and an endpoint's address never does.
        unsafe { if address(self.lb, priority, index, &mut found) { found.bytes() } else { &[] } }
    }

    fn is_healthy(&self, priority: u32, index: usize) -> bool {
        // SAFETY: the object is valid during the hook.
        unsafe { abi::host_health(self.lb, priority, index) == HEALTHY }
    }

    fn weight(&self, priority: u32, index: usize) -> u32 {
        // SAFETY: the object is valid during the hook.
        unsafe { abi::host_weight(self.lb, priority, index) }
    }

    fn active_requests(&self, priority: u32, index: usize) -> u64 {
        // SAFETY: the object is valid during the hook.
        unsafe { abi::host_stat(self.lb, priority, index, ACTIVE_REQUESTS) }
    }

    fn metadata(&self, priority: u32, index: usize, namespace: &str, key: &str) -> Option<HostMetadata<'_>> {
        let lb = self.lb;
        let (namespace, key) = (namespace.as_bytes().into(), key.as_bytes().into());
        let (mut text, mut number, mut flag) = (EnvoyBuffer::EMPTY, 0.0, false);
        // SAFETY: the object is valid during the hook; Envoy writes a value before it returns `true`. A string belongs
        // to metadata that Envoy replaces, when the endpoint's change, before it tells the workers: they read it when
        // they are told, and only then.
        unsafe {
            if abi::metadata_string(lb, priority, index, namespace, key, &mut text) {
                Some(HostMetadata::Text(text.bytes()))
            } else if abi::metadata_number(lb, priority, index, namespace, key, &mut number) {
                Some(HostMetadata::Number(number))
            } else if abi::metadata_bool(lb, priority, index, namespace, key, &mut flag) {
                Some(HostMetadata::Flag(flag))
            } else {
                None
            }
        }
    }
}

/// A request, inside the hook that chooses an endpoint for it.
pub(super) struct Request<'hook> {
    endpoints: Endpoints<'hook>,
    /// Null where there is no request.
    context: *mut EnvoyLbContext,
    /// Whether some endpoints may be to be avoided.
    choosy: bool,
}

impl<'hook> Request<'hook> {
    /// Wraps the pointer that Envoy gave to the hook.
    ///
    /// # Safety
    /// As for [`Endpoints::new`]; `context` may be null.
    pub(super) unsafe fn new(endpoints: Endpoints<'hook>, context: *mut EnvoyLbContext) -> Self {
        // SAFETY: the object is valid during the hook, or null, which is asked for nothing.
        let choosy = unsafe { !context.is_null() && abi::selection_retries(context) > 0 };
        Self { endpoints, context, choosy }
    }
}

impl LbRequest for Request<'_> {
    fn header(&self, name: &str, index: usize) -> Option<&[u8]> {
        if self.context.is_null() {
            return None;
        }
        let mut value = EnvoyBuffer::EMPTY;
        let name = name.as_bytes().into();
        // SAFETY: not null, so valid during the hook; the headers do not change while an endpoint is chosen.
        unsafe {
            abi::header(self.context, name, &mut value, index, std::ptr::null_mut()).then(|| value.bytes())
        }
    }

    fn avoids(&self, priority: u32, index: usize) -> bool {
        // SAFETY: `choosy` says that the context is not null; both objects are valid during the hook.
        self.choosy && unsafe { abi::avoids(self.endpoints.lb, self.context, priority, index) }
    }
}

/// The counters of one policy's configuration.
pub(super) struct Counters {
    config: *mut EnvoyLbConfig,
    /// Envoy's id for each counter, or `None` where Envoy refused it.
    ids: Vec<Option<usize>>,
}

// SAFETY: the pointer is only passed to `increment_counter`, which is made for any thread.
unsafe impl Send for Counters {}
// SAFETY: as above.
unsafe impl Sync for Counters {}

impl Counters {
    /// Defines counters below the policy's name.
    ///
    /// # Safety
    /// `config` is the pointer that Envoy passed to `config_new`, which is running, and the result is not used after
    /// `config_destroy`.
    pub(super) unsafe fn define(config: *mut EnvoyLbConfig, policy: &str, metrics: &[Metric]) -> Self {
        let define = |metric: &Metric| {
            let name = format!("{}.{}", policy.replace('-', "_"), metric.name);
            let mut id = 0;
            // SAFETY: the configuration is valid during `config_new`; Envoy copies the name and writes the id before it
            // returns; without labels no label names are read.
            let code =
                unsafe { abi::define_counter(config, name.as_bytes().into(), std::ptr::null(), 0, &mut id) };
            (code == SUCCESS).then_some(id)
        };
        Self { config, ids: metrics.iter().map(define).collect() }
    }

    /// Adds one to a counter; one that does not exist changes nothing.
    pub(super) fn count(&self, index: usize) {
        let Some(id) = self.ids.get(index).copied().flatten() else { return };
        // SAFETY: the configuration outlives this value; without labels no label values are read. Failure is an
        // unknown id, which changes nothing.
        unsafe { abi::increment_counter(self.config, id, std::ptr::null(), 0, 1) };
    }
}
