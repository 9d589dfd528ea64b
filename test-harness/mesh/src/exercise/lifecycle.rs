//! What users notice while modules, configurations and the control plane change: nothing, or a refusal with its reason.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use e2e::h1::Connection;
use e2e::{Protocol, dist, repository, send};
use images::{About, Image};
use istio_lint::{Resource, kustomize};
use serde_json::{Value, json};

use super::inference::Tried;
use crate::report::Report;
use crate::requests::infer;
use crate::setup::Mesh;

/// How long a change may take to reach Envoy.
const SOON: Duration = Duration::from_secs(60);
/// How long a request may take meanwhile.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many clients send requests during a change, one after the other each.
const CLIENTS: usize = 3;
/// What Istio's agent answers in place of a module that it cannot pull.
const NOT_PULLED: u16 = 403;
/// What Envoy answers for a filter that never had a configuration.
const NOT_CONFIGURED: u16 = 500;
/// The module in the resources.
const IMAGE: &str = "cannot fetch Wasm module oci://registry.example/kserve-transcoder:0.2.0";
/// What the log says of [`wrong_type`].
const NAMED: &str = "configuration key max_request_bytes: invalid type: string";
/// For how long they go on after a change.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Changes everything under `kserve-transcoder/gateway-wasm` that can change.
pub(super) fn run(mesh: &Mesh, report: &mut Report) -> Result<()> {
    let overlay = repository().join("istio/kserve-transcoder/overlays/gateway-wasm");
    let resources = kustomize::build(&overlay)?;
    let mut tried = Tried::raise(mesh, &resources)?;
    tried.first_answer()?;
    let plugin = resources.iter().find(|resource| resource.kind() == "WasmPlugin");
    let plugin = plugin.context("the overlay has no WasmPlugin")?;
    let changed = Changed { mesh, plugin };

    let rolled_out = under_load(tried.address, || changed.new_digest(&tried));
    report.check("a module's new digest, under load", rolled_out);
    let refused = under_load(tried.address, || changed.refused_configuration(&tried));
    report.check("a configuration that the filter refuses, under load: the old one stays", refused);
    changed.mend(&mut tried)?;
    report.check("a digest that does not exist: 403", changed.unknown_digest(&mut tried));
    let restarted = under_load(tried.address, || mesh.world.plane.restart_api_server(Duration::from_secs(1)));
    report.check("the API server killed and started, under load", restarted);
    // After the API server: the watches of an istiod that has seen it go back off for a minute or two.
    let restarted = under_load(tried.address, || mesh.world.plane.restart_istiod(Duration::from_secs(1)));
    report.check("istiod killed and started, under load", restarted);
    report.check("a module's digest, after both", under_load(tried.address, || changed.new_digest(&tried)));
    drop(tried);

    mesh.world.clear(super::NAMESPACES)?;
    report.check(
        "a proxy that starts while the registry is down: 403, until the resource is touched",
        registry_down(mesh, &resources),
    );
    mesh.world.clear(super::NAMESPACES)?;
    let refused = refused_from_the_start(mesh, resources);
    report.check("a proxy that starts with a configuration that the filter refuses: 500", refused);
    Ok(())
}

/// The plugin, as it is changed.
struct Changed<'m> {
    mesh: &'m Mesh,
    plugin: &'m Resource,
}

impl Changed<'_> {
    /// The same module under a new digest, which is pinned: the agent pulls it, and Envoy takes it.
    fn new_digest(&self, tried: &Tried<'_>) -> Result<()> {
        let mut module = std::fs::read(dist("kserve_transcoder.wasm")).context("read the module")?;
        // A custom section ("custom sections" of WebAssembly's binary format) of this moment: the same code in other
        // bytes.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos().to_string();
        let content = [&[4][..], b"mesh", now.as_bytes()].concat();
        module.push(0);
        module.push(u8::try_from(content.len()).context("a short section")?);
        module.extend(content);
        let image = Image::of_module(&module, &About::default())?;
        let digest = self.mesh.registry.add("kserve-transcoder", "next", &image);
        self.apply("/spec/sha256", json!(digest), "oci://registry.example/kserve-transcoder:next")?;
        // Envoy names its VM by the digest.
        wait_for("Envoy has the new module", SOON, || {
            let dump = tried.proxy.admin("/config_dump?include_eds=false")?;
            Ok(dump.contains(&digest))
        })
    }

    /// A key of the wrong type. The log names it, and Envoy keeps the configuration that it has: it refuses the new one
    /// as a whole.
    fn refused_configuration(&self, tried: &Tried<'_>) -> Result<()> {
        self.apply("/spec/pluginConfig", wrong_type(), self.plugin.text("/spec/url"))?;
        wait_for("the log names the key", SOON, || Ok(tried.proxy.log().contains(NAMED)))
    }

    /// The registry has no such image: the agent says so, and no request passes.
    fn unknown_digest(&self, tried: &mut Tried<'_>) -> Result<()> {
        let digest = "0".repeat(64);
        self.apply("/spec/sha256", json!(digest), self.plugin.text("/spec/url"))?;
        refuses(tried.address, NOT_PULLED)?;
        wait_for("the agent's log names the digest", SOON, || Ok(tried.proxy.log().contains(&digest)))?;
        self.mend(tried)
    }

    /// The plugin as the overlay has it.
    fn mend(&self, tried: &mut Tried<'_>) -> Result<()> {
        self.mesh.world.plane.cluster.apply(self.plugin)?;
        tried.first_answer().context("after the plugin was mended")
    }

    fn apply(&self, pointer: &str, value: Value, url: &str) -> Result<()> {
        let mut changed = self.plugin.value.clone();
        changed["spec"]["url"] = json!(url);
        let name = pointer.rsplit('/').next().unwrap_or(pointer);
        changed["spec"][name] = value;
        self.mesh.world.plane.cluster.apply_value(&changed)
    }
}

/// What no configuration of the transcoder may be.
fn wrong_type() -> Value {
    json!({"max_request_bytes": "a lot"})
}

/// A proxy that never had a good configuration has none to keep: it refuses every request.
fn refused_from_the_start(mesh: &Mesh, mut resources: Vec<Resource>) -> Result<()> {
    for plugin in resources.iter_mut().filter(|resource| resource.kind() == "WasmPlugin") {
        plugin.value["spec"]["pluginConfig"] = wrong_type();
    }
    let tried = Tried::raise(mesh, &resources)?;
    refuses(tried.address, NOT_CONFIGURED)?;
    wait_for("the log names the key", SOON, || Ok(tried.proxy.log().contains(NAMED)))
}

/// Without its module the proxy refuses every request. The registry is asked again when the resource changes.
fn registry_down(mesh: &Mesh, resources: &[Resource]) -> Result<()> {
    mesh.registry.set_down(true);
    let raised = Tried::raise(mesh, resources);
    let refused = raised.and_then(|tried| {
        refuses(tried.address, NOT_PULLED)?;
        wait_for("the agent's log names the image", SOON, || Ok(tried.proxy.log().contains(IMAGE)))?;
        Ok(tried)
    });
    mesh.registry.set_down(false);
    let mut tried = refused?;
    // What the agent could not fetch it tries again when the resource changes.
    let cluster = &mesh.world.plane.cluster;
    for plugin in resources.iter().filter(|resource| resource.kind() == "WasmPlugin") {
        let mut touched = plugin.value.clone();
        touched["metadata"]["annotations"] = json!({"inference-filters/fetch": "again"});
        cluster.apply_value(&touched)?;
    }
    tried.first_answer().context("after the registry came back")
}

/// Waits until requests are answered with this status, and sees that they stay so.
fn refuses(address: SocketAddr, expected: u16) -> Result<()> {
    let status = || send(Protocol::Http1, address, &infer("any")).map(|answer| answer.status());
    // The listener may not be there yet.
    let what = format!("requests are answered with {expected}");
    wait_for(&what, SOON, || Ok(status().is_ok_and(|status| status == expected)))?;
    for _ in 0..20 {
        let status = status()?;
        ensure!(status == expected, "a request was answered with {status}, not {expected}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Sends requests all the while `change` goes on, and a little longer. Each must be answered 200.
fn under_load(address: SocketAddr, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let ended = AtomicBool::new(false);
    let client = || -> Result<usize> {
        let (mut sent, mut connection) = (0, None);
        while !ended.load(Ordering::Relaxed) {
            // One connection for many requests: there are fewer ports than requests.
            let mut open = match connection.take() {
                Some(open) => open,
                None => Connection::open(address, PATIENCE)?,
            };
            let answer = open.send(&infer("any"))?.complete().with_context(|| format!("request {sent}"))?;
            ensure!(answer.status() == 200, "request {sent}: {} {}", answer.status(), answer.text());
            let last = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
            connection = Some(open).filter(|_| !last);
            sent += 1;
        }
        Ok(sent)
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let changed = change();
        thread::sleep(AFTERWARDS);
        ended.store(true, Ordering::Relaxed);
        let mut sent = 0;
        for client in clients {
            sent += client.join().unwrap_or_else(|_| Err(anyhow!("a client panicked")))?;
        }
        ensure!(sent > CLIENTS, "only {sent} requests were sent");
        changed
    })
}

fn wait_for(what: &str, bound: Duration, wanted: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + bound;
    while !wanted()? {
        if Instant::now() > deadline {
            bail!("{what}: not within {bound:?}");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
