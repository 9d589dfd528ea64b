//! The functions that Envoy calls for load-balancing policies. A panic in one of them costs one request: it fails as
//! if there were no endpoint, and the worker's state is made anew.

#![allow(unsafe_code)]

use super::abi::{self, EnvoyLb, EnvoyLbConfig, EnvoyLbContext};
use super::envoy::{Counters, Endpoints, Request};
use super::registry::{self, Configured};
use crate::abi::EnvoyBuffer;
use crate::envoy;
use crate::module;
use filter_api::{Balancer, HostIndex, Level};
use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A loaded configuration.
struct Loaded {
    configured: Configured,
    counters: Counters,
}

/// A policy at work in one worker. Without a balancer, because making one or calling it panicked, the next hook makes
/// one.
struct Worker {
    loaded: Arc<Loaded>,
    balancer: RefCell<Option<Box<dyn Balancer>>>,
}

impl Worker {
    /// Runs `use_it` with the balancer; `None` if it panicked.
    fn with<R>(&self, endpoints: Endpoints<'_>, use_it: impl FnOnce(&mut dyn Balancer) -> R) -> Option<R> {
        // Taken out meanwhile: a panic takes it along.
        let mut taken = self.balancer.try_borrow_mut().ok()?.take();
        // Unwind safe: what a panic leaves behind is dropped.
        let run = catch_unwind(AssertUnwindSafe(|| {
            let balancer = taken.get_or_insert_with(|| {
                // Random, because that is what a hasher of the standard library starts from.
                let mut balancer = self.loaded.configured.balancer(RandomState::new().hash_one(0));
                balancer.hosts(&endpoints);
                balancer
            });
            use_it(balancer.as_mut())
        }));
        match run {
            Ok(result) => {
                *self.balancer.try_borrow_mut().ok()? = taken;
                Some(result)
            }
            Err(panic) => {
                let _ = catch_unwind(AssertUnwindSafe(|| drop((panic, taken))));
                None
            }
        }
    }
}

/// A configuration is loaded; null refuses the cluster. The result is given back to `config_destroy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_lb_config_new(
    config: *mut EnvoyLbConfig,
    name: EnvoyBuffer,
    json: EnvoyBuffer,
) -> *const Loaded {
    let loaded = catch_unwind(|| {
        // SAFETY: Envoy's buffers are valid until this hook returns.
        let (name, json) = unsafe { (name.bytes(), json.bytes()) };
        let configured = registry::configure(module::loaded().policies, name, json)?;
        abi::find().map_err(|missing| {
            format!("{}: this Envoy is too old: it does not export {missing}", configured.name)
        })?;
        // SAFETY: Envoy's pointer, which stays valid until `config_destroy`; the result goes with it.
        let counters = unsafe { Counters::define(config, configured.name, configured.metrics) };
        Ok(Loaded { configured, counters })
    });
    let refused = match loaded {
        Ok(Ok(loaded)) => return Arc::into_raw(Arc::new(loaded)),
        Ok(Err(refused)) => refused,
        Err(_) => "the policy panicked while it was configured".to_owned(),
    };
    envoy::log(Level::Error, module::loaded().name, &refused);
    std::ptr::null()
}

/// A configuration is not used any more; Envoy has destroyed all its workers' policies before.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_lb_config_destroy(loaded: *const Loaded) {
    // SAFETY: `config_new` made the pointer from an `Arc`, and Envoy gives it back once.
    let loaded = unsafe { Arc::from_raw(loaded) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(loaded)));
}

/// A worker begins to balance a cluster. The result is given to all hooks of that worker and given back to `destroy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_lb_new(
    loaded: *const Loaded,
    lb: *mut EnvoyLb,
) -> *const Worker {
    // SAFETY: `config_new` made the pointer from an `Arc` that Envoy has not given back yet; the count goes up for the
    // reference which is taken here.
    let loaded = unsafe {
        Arc::increment_strong_count(loaded);
        Arc::from_raw(loaded)
    };
    let worker = Worker { loaded, balancer: RefCell::new(None) };
    // SAFETY: Envoy's own pointer, and the handle does not leave this hook.
    let endpoints = unsafe { Endpoints::new(lb) };
    worker.with(endpoints, |_| ());
    Box::into_raw(Box::new(worker))
}

/// A worker no longer balances a cluster.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_lb_destroy(worker: *const Worker) {
    // SAFETY: `new` made the pointer from a `Box`, and Envoy gives it back once, on the same thread.
    let worker = unsafe { Box::from_raw(worker.cast_mut()) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(worker)));
}

/// Endpoints have been added or removed, or have changed.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_lb_on_host_membership_update(
    lb: *mut EnvoyLb,
    worker: *const Worker,
    _added: usize,
    _removed: usize,
) {
    // SAFETY: `new` made the pointer, and Envoy has not given it back yet.
    let worker = unsafe { &*worker };
    // SAFETY: Envoy's own pointer, and the handle does not leave this hook.
    let endpoints = unsafe { Endpoints::new(lb) };
    worker.with(endpoints, |balancer| balancer.hosts(&endpoints));
}

/// A request needs an endpoint; `false` means that there is none. The index is one among the healthy endpoints of the
/// priority.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_lb_choose_host(
    lb: *mut EnvoyLb,
    worker: *const Worker,
    context: *mut EnvoyLbContext,
    priority: *mut u32,
    index: *mut u32,
) -> bool {
    // SAFETY: `new` made the pointer, and Envoy has not given it back yet.
    let worker = unsafe { &*worker };
    // SAFETY: Envoy's own pointers, and the handles do not leave this hook.
    let (endpoints, request) = unsafe {
        let endpoints = Endpoints::new(lb);
        (endpoints, Request::new(endpoints, context))
    };
    let choice = worker.with(endpoints, |balancer| balancer.choose(&request, &endpoints));
    let Some(choice) = choice else { return false };
    if let Some(counter) = choice.count {
        worker.loaded.counters.count(counter);
    }
    if let Some(warning) = &choice.warning {
        envoy::log(Level::Warn, worker.loaded.configured.name, warning);
    }
    let Some(HostIndex { priority: of, index: at }) = choice.host else { return false };
    let Ok(at) = u32::try_from(at) else { return false };
    // SAFETY: Envoy passes pointers to two integers of its own.
    unsafe {
        *priority = of;
        *index = at;
    }
    true
}
