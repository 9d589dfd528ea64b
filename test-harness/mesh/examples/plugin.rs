//! One `WasmPlugin` on a gateway, in a mesh of its own:
//!
//! ```sh
//! cargo build -p mesh --example plugin
//! cargo xtask mesh --with target/debug/examples/plugin dist/claim_headers.wasm
//! ```

use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::{Protocol, Request, Workload, send};
use images::{About, Image};
use mesh::place;
use mesh::setup::Mesh;
use mesh::world::Workload as Pods;
use serde_json::json;

fn main() -> ExitCode {
    place::run(|place| {
        let mesh = Mesh::raise(place)?;
        let world = &mesh.world;
        let module = std::env::args().nth(1).context("which module? the path of a .wasm file")?;
        let image = Image::of_module(&std::fs::read(&module)?, &About::default())?;
        let digest = mesh.registry.add("my-plugin", "1", &image);

        // A Service with one pod, which is a thread of this program.
        world.ambient_namespace("shop")?;
        world.account("shop", "cart")?;
        world.service("shop", "cart", &[], &[("app", "cart")], &[("http", 8080, 8080)])?;
        let address = world.place.address()?;
        let server = Workload::start_on("cart", SocketAddr::new(address, 8080))?;
        let pods = Pods {
            namespace: "shop",
            deployment: "cart",
            account: "cart",
            labels: &[("app", "cart")],
            ports: &[8080],
        };
        world.pod(&pods, address)?;

        // The resources, as they would be applied with kubectl.
        for resource in [
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "metadata": {"name": "shop", "namespace": "shop"},
                "spec": {
                    "gatewayClassName": "istio",
                    "listeners": [{"name": "http", "port": 8000, "protocol": "HTTP"}],
                },
            }),
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"name": "cart", "namespace": "shop"},
                "spec": {
                    "parentRefs": [{"name": "shop"}],
                    "rules": [{"backendRefs": [{"name": "cart", "port": 8080}]}],
                },
            }),
            json!({
                "apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin",
                "metadata": {"name": "my-plugin", "namespace": "shop"},
                "spec": {
                    "targetRefs": [
                        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "shop"},
                    ],
                    "url": "oci://registry.example/my-plugin:1",
                    "sha256": digest,
                    "pluginConfig": {"map": [{"header": "x-user", "claim": ["sub"], "type": "string"}]},
                },
            }),
        ] {
            world.plane.cluster.apply_value(&resource)?;
        }

        // The pod of the gateway that istiod asks for, and a request through it.
        let gateway = world.gateway("shop", "shop")?;
        let address = SocketAddr::new(gateway.address(), 8000);
        let request = Request::get("/").header("x-user", "forged");
        // What a cluster takes a moment for: the pod's endpoint, and the module.
        let deadline = Instant::now() + Duration::from_secs(30);
        let answer = loop {
            let answer = send(Protocol::Http1, address, &request)?;
            if answer.status() == 200 || Instant::now() > deadline {
                break answer;
            }
            thread::sleep(Duration::from_millis(100));
        };
        ensure!(answer.status() == 200, "{} {}\n{}", answer.status(), answer.text(), gateway.log());
        let seen = server.requests();
        ensure!(seen.last().is_some_and(|request| request.all("x-user").is_empty()), "the cart saw {seen:?}");
        println!("the cart was asked through the gateway, and the plugin took the header off");
        Ok(ExitCode::SUCCESS)
    })
}
