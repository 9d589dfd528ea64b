//! A load-balancing policy that keeps each request in its group of endpoints, on the least loaded of them: the pure
//! core.
//!
//! A request names its group in a header, an endpoint in its metadata. See the README beside this crate for the
//! configuration. [`RuntimeGroup`] is the policy, and [`Worker`] what one worker thread of the proxy has of it:
//!
//! ```
//! use filter_api::{Balancer, HostList, HostMetadata, Hosts, LbRequest, Policy};
//! use runtime_group::RuntimeGroup;
//! use std::sync::Arc;
//!
//! /// Endpoints, all of them healthy: group, address, and requests under way.
//! struct Cluster(Vec<(&'static str, &'static str, u64)>);
//!
//! impl Hosts for Cluster {
//!     fn priorities(&self) -> u32 {
//!         1
//!     }
//!     fn count(&self, _list: HostList, _priority: u32) -> usize {
//!         self.0.len()
//!     }
//!     fn address(&self, _list: HostList, _priority: u32, index: usize) -> &[u8] {
//!         self.0[index].1.as_bytes()
//!     }
//!     fn is_healthy(&self, _priority: u32, _index: usize) -> bool {
//!         true
//!     }
//!     fn weight(&self, _priority: u32, _index: usize) -> u32 {
//!         1
//!     }
//!     fn active_requests(&self, _priority: u32, index: usize) -> u64 {
//!         self.0[index].2
//!     }
//!     fn metadata(&self, _: u32, index: usize, namespace: &str, key: &str) -> Option<HostMetadata<'_>> {
//!         ((namespace, key) == ("envoy.lb", "format")).then(|| HostMetadata::Text(self.0[index].0.as_bytes()))
//!     }
//! }
//!
//! struct Request(&'static str);
//!
//! impl LbRequest for Request {
//!     fn header(&self, name: &str, index: usize) -> Option<&[u8]> {
//!         (name == "x-format" && index == 0).then_some(self.0.as_bytes())
//!     }
//!     fn avoids(&self, _priority: u32, _index: usize) -> bool {
//!         false
//!     }
//! }
//!
//! let policy = RuntimeGroup::configure(br#"{"keys": [{"header": "x-format", "key": "format"}]}"#)?;
//! let mut worker = Arc::new(policy).balancer(1);
//! let cluster = Cluster(vec![
//!     ("tensorflow", "10.0.0.1:9000", 0),
//!     ("pytorch", "10.0.0.2:9000", 7),
//!     ("pytorch", "10.0.0.3:9000", 3),
//! ]);
//! worker.hosts(&cluster);
//!
//! let chosen = worker.choose(&Request("pytorch"), &cluster);
//! assert_eq!(chosen.host.unwrap().index, 2);
//! let chosen = worker.choose(&Request("onnx"), &cluster);
//! assert_eq!(chosen.host, None);
//! # Ok::<(), filter_api::ConfigError>(())
//! ```

mod config;
mod header;
mod load;
mod membership;
mod metrics;
mod policy;
mod unknown;

#[cfg(test)]
mod fake;

pub use config::{Config, Fallback, IstioWorkload, Key};
pub use policy::{RuntimeGroup, Worker};
