//! The load-balancing policy `runtime-group` in stock Envoy.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

#[path = "runtime_group/groups.rs"]
mod groups;
#[path = "runtime_group/load.rs"]
mod load;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use e2e::{Envoy, Installed, Protocol, Request, Suite, send};
use groups::{Eds, Groups, Server, cluster, endpoint, module, policy};
use load::Load;
use odd_server::{Gate, Script, Step};
use serde_json::{Value, json};

const BOUND: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    Suite::new()
        .each_envoy("no_request_leaves_its_group_while_endpoints_come_go_and_fall_ill", membership_changes)
        .each_envoy("a_request_goes_to_the_least_loaded_of_its_group", least_loaded)
        .each_envoy("each_fallback_governs_its_own_case", fallbacks)
        .each_envoy("istios_workload_is_a_group_and_so_is_any_metadata", groups)
        .each_envoy("dynamic_subset_in_front_names_the_group_and_no_client_does", behind_dynamic_subset)
        .each_envoy("one_address_may_stand_for_two_groups", shared_address)
        .each_envoy("priorities_retries_and_sessions_are_as_with_stock_policies", stock_features)
        .each_envoy("a_policy_that_is_misconfigured_is_not_loaded", is_not_loaded)
        .each_envoy("a_policy_that_panics_costs_one_request", panics)
        .run()
}

/// Two groups of three, of which one each falls ill and recovers, one is removed and one added; and a third group that
/// appears and goes, all under load on two workers.
fn membership_changes(installed: &Installed) {
    let servers = ["a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4"].map(Server::start);
    let [a1, a2, a3, a4, b1, b2, b3, b4] = &servers;
    let eds = Eds::new();
    eds.write(&[a1, a2, b1, b2, a3, b3].map(|server| endpoint(server, &server.name[..1])));
    let mut models = eds.cluster("models", &policy(&json!({"keys": [{"key": "group"}]})));
    // Otherwise Envoy keeps an endpoint that the file no longer has for as long as it is healthy.
    models["ignore_health_on_host_removal"] = json!(true);
    models["health_checks"] = json!([{
        "timeout": "5s", "interval": "0.1s", "no_traffic_interval": "0.1s", "no_traffic_healthy_interval": "0.1s",
        "unhealthy_threshold": 1, "healthy_threshold": 1,
        "http_health_check": {"path": "/healthz", "codec_client_type": "HTTP2"},
    }]);
    let mut envoy = Groups::default().cluster(models).workers(2).start(installed);
    let awaits = |envoy: &mut Envoy, gauge: &str, count: u64| {
        let name = format!("cluster.models.membership_{gauge}");
        envoy.wait_for_stat(&name, BOUND, |value| value == count).unwrap();
    };
    awaits(&mut envoy, "healthy", 6);

    let load = Load::start(envoy.address("http").unwrap(), "/models/", 4);
    load.reaches(&[a1, a2, a3, b1, b2, b3]);

    // The first of one group and the last of the other: every place between them moves.
    a1.falls_ill();
    b3.falls_ill();
    awaits(&mut envoy, "healthy", 4);
    load.leaves(&[a1, b3]);
    load.reaches(&[a2, a3, b1, b2]);

    // While these are ill, others come in front of them and others go.
    eds.write(&[b4, a4, a1, b2, a3, b3].map(|server| endpoint(server, &server.name[..1])));
    load.leaves(&[a1, b3, a2, b1]);
    load.reaches(&[a3, a4, b2, b4]);

    a1.recovers();
    b3.recovers();
    awaits(&mut envoy, "healthy", 6);
    load.reaches(&[a1, b3]);

    eds.write(&[a3, b2].map(|server| endpoint(server, &server.name[..1])));
    load.leaves(&[a1, a4, b3, b4]);
    load.reaches(&[a3, b2]);

    let tally = load.stop();
    for ((group, status, server), times) in &tally {
        assert!(
            *status == 200 && server[..1] == *group,
            "{times} times {status} {server} for {group}: {tally:?}"
        );
    }
    assert!(tally.values().sum::<u64>() >= 2000, "{tally:?}");

    // The same address in another group: nothing but its metadata has changed.
    eds.write(&[endpoint(a3, "b"), endpoint(b2, "a")]);
    let address = envoy.address("http").unwrap();
    let moved = || {
        let request = Request::get("/models/").header("x-subset-group", "a");
        send(Protocol::Http1, address, &request).unwrap().text() == "b2"
    };
    envoy.process().wait("metadata that has changed", BOUND, |_| moved().then_some(())).unwrap();
    assert!((0..20).all(|_| moved()));
}

fn least_loaded(installed: &Installed) {
    let [a1, a2, b1] = ["a1", "a2", "b1"].map(Server::start);
    let gates = [&a1, &a2].map(|server| {
        let gate = Gate::new();
        let mut held = Script::plain(200, "text/plain", server.name.as_str());
        held.steps.insert(1, Step::Wait(gate.clone()));
        server.odd.script_for_path("/models/held", held);
        gate
    });
    let endpoints = [endpoint(&a1, "a"), endpoint(&a2, "a"), endpoint(&b1, "b")];
    let models = cluster("models", &policy(&json!({"keys": [{"key": "group"}]})), &endpoints);
    let mut envoy = Groups::default().cluster(models).workers(2).start(installed);
    let address = envoy.address("http").unwrap();
    let of_group_a = |path: &str| Request::get(path).header("x-subset-group", "a");
    std::thread::scope(|scope| {
        // Each is under way before the next is sent, so the next goes to the other one.
        let mut held = Vec::new();
        for under_way in 1..=6 {
            held.push(
                scope.spawn(move || send(Protocol::Http1, address, &of_group_a("/models/held")).unwrap()),
            );
            awaits_active(&mut envoy, &[&a1, &a2], |active| active.iter().sum::<u64>() == under_way);
        }
        assert_eq!(active(&envoy, &[&a1, &a2, &b1]), [3, 3, 0]);

        // One of the two gets rid of its work, and all of the group's from now on.
        (0..3).for_each(|_| gates[0].open());
        awaits_active(&mut envoy, &[&a1, &a2], |active| active == [0, 3]);
        for _ in 0..20 {
            let answer = send(Protocol::Http1, address, &of_group_a("/models/now")).unwrap();
            assert_eq!((answer.status(), answer.text().as_str()), (200, "a1"));
        }
        (0..3).for_each(|_| gates[1].open());
        let mut answers: Vec<String> = held.into_iter().map(|thread| thread.join().unwrap().text()).collect();
        answers.sort();
        assert_eq!(answers, ["a1", "a1", "a1", "a2", "a2", "a2"]);
    });
    assert_eq!(b1.served(), 0);
}

/// Requests under way at each endpoint, by Envoy's own account.
fn active(envoy: &Envoy, servers: &[&Server]) -> Vec<u64> {
    let text = envoy.get("/clusters").unwrap();
    let of = |server: &&Server| {
        let prefix = format!("models::{}::rq_active::", server.odd.address());
        text.lines().find_map(|line| line.strip_prefix(&prefix)?.parse().ok()).unwrap()
    };
    servers.iter().map(of).collect()
}

fn awaits_active(envoy: &mut Envoy, servers: &[&Server], enough: impl Fn(&[u64]) -> bool) {
    let start = std::time::Instant::now();
    loop {
        let now = active(envoy, servers);
        if enough(&now) {
            return;
        }
        assert!(start.elapsed() < BOUND, "requests under way: {now:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn fallbacks(installed: &Installed) {
    let [a1, b1, n1] = ["a1", "b1", "n1"].map(Server::start);
    let mut ill = endpoint(&b1, "b");
    ill["health_status"] = json!("UNHEALTHY");
    let mut nobodys = endpoint(&n1, "");
    nobodys.as_object_mut().unwrap().remove("metadata");
    let endpoints = [ill, endpoint(&a1, "a"), nobodys];
    let with = |name: &str, no_group: &str, unknown: &str, unhealthy: &str| {
        let config = json!({
            "keys": [{"key": "group", "header": "X-Group"}],
            "no_group": no_group, "unknown_group": unknown, "unhealthy_group": unhealthy,
        });
        cluster(name, &policy(&config), &endpoints)
    };
    let envoy = Groups::default()
        .cluster(with("absent", "any", "none", "none"))
        .cluster(with("unknown", "none", "any", "none"))
        .cluster(with("unhealthy", "none", "none", "any"))
        .cluster(with("nothing", "none", "none", "none"))
        .tcp("absent")
        .start(installed);
    let address = envoy.address("http").unwrap();
    let requests: [(&str, &str, &[&str]); 7] = [
        ("absent", "no_group", &[]),
        ("absent", "no_group", &[""]),
        ("unknown", "unknown_group", &["c"]),
        ("unknown", "unknown_group", &["A"]),
        ("unknown", "unknown_group", &["a", "b"]),
        ("unhealthy", "unhealthy_group", &["b"]),
        ("", "", &["a", "a"]),
    ];
    for (governed, counter, values) in requests {
        for name in ["absent", "unknown", "unhealthy", "nothing"] {
            let before = counted(&envoy, counter);
            let mut request = Request::get(&format!("/{name}/"));
            for value in values {
                request = request.header("x-group", value);
            }
            let mut reached: Vec<String> = Vec::new();
            for protocol in Protocol::BOTH.into_iter().cycle().take(40) {
                let answer = send(protocol, address, &request).unwrap().complete().unwrap();
                reached.push(format!("{} {}", answer.status(), answer.text()));
            }
            reached.sort();
            reached.dedup();
            let expected: &[&str] = match governed {
                "" => &["200 a1"],
                _ if governed == name => &["200 a1", "200 n1"],
                _ => &["503 no healthy upstream"],
            };
            assert_eq!(reached, expected, "{name} {values:?}");
            let more = if counter.is_empty() { 0 } else { 40 };
            assert_eq!(counted(&envoy, counter), before + more, "{name} {values:?}");
        }
    }
    assert_eq!(b1.served(), 0);
    let log = envoy.log();
    let reported = |fallback: &str| {
        let text =
            format!("runtime-group: no endpoint is in the group of x-group: \"c\"; such requests {fallback}");
        log.matches(&text).count()
    };
    // Once for each cluster and worker, however many requests there were.
    assert_eq!(reported("go to any endpoint (unknown_group: any)"), 1, "{log}");
    assert_eq!(reported("fail with a 503 (unknown_group: none)"), 3, "{log}");
    assert!(log.contains("Endpoints have group in envoy.lb: \"a\", \"b\"."), "{log}");

    // A TCP proxy has no request, and so no group.
    let answer = send(Protocol::Http2, envoy.address("tcp").unwrap(), &Request::get("/")).unwrap();
    assert!(["a1", "n1"].contains(&answer.text().as_str()), "{answer:?}");
}

/// What the policies of all clusters have counted.
fn counted(envoy: &Envoy, counter: &str) -> u64 {
    let stats = envoy.stats("runtime_group").unwrap();
    stats
        .iter()
        .filter(|(name, _)| name.ends_with(&format!("runtime_group.{counter}")))
        .map(|(_, value)| value)
        .sum()
}

/// A cluster's name, the headers of a request, and who may serve it.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

/// Any namespace and type of metadata, several keys, a header of the client's, over HTTP/1.1 and HTTP/2.
fn groups(installed: &Installed) {
    let names = ["triton", "ovms", "ovms-2"];
    let servers = names.map(Server::start);
    let workload =
        |name: &str| format!("modelmesh-serving-{name};modelmesh-serving;modelmesh-controller;v1;Kubernetes");
    let endpoints = [
        (
            &servers[0],
            json!({"istio": {"workload": workload("triton-2.x")}, "env": {"stage": 1, "gpu": true}}),
        ),
        (
            &servers[1],
            json!({"istio": {"workload": workload("ovms-1.x")}, "env": {"stage": 1, "gpu": false}}),
        ),
        (
            &servers[2],
            json!({"istio": {"workload": workload("ovms-1.x")}, "env": {"stage": 2, "gpu": false}}),
        ),
    ]
    .map(|(server, metadata)| {
        let mut endpoint = endpoint(server, "");
        endpoint["metadata"]["filter_metadata"] = metadata;
        endpoint
    });
    let istio = policy(&json!({
        "keys": [{"header": "x-runtime", "istio_workload": "workload"}], "unknown_group": "none",
    }));
    let keys = policy(&json!({
        "keys": [
            {"header": "x-stage", "namespace": "env", "key": "stage"},
            {"header": "x-gpu", "namespace": "env", "key": "gpu"},
        ],
    }));
    let envoy = Groups::default()
        .cluster(cluster("istio", &istio, &endpoints))
        .cluster(cluster("keys", &keys, &endpoints))
        .start(installed);
    let address = envoy.address("http").unwrap();
    let cases: [Case; 9] = [
        ("istio", &[("x-runtime", "modelmesh-serving-triton-2.x")], &["triton"]),
        ("istio", &[("x-runtime", "modelmesh-serving-ovms-1.x")], &["ovms", "ovms-2"]),
        ("istio", &[("x-runtime", "modelmesh-controller")], &["503"]),
        ("istio", &[], &["ovms", "ovms-2", "triton"]),
        ("keys", &[("x-stage", "1")], &["ovms", "triton"]),
        ("keys", &[("x-gpu", "true")], &["triton"]),
        ("keys", &[("x-gpu", "false"), ("x-stage", "2")], &["ovms-2"]),
        ("keys", &[("x-gpu", "true"), ("x-stage", "2")], &["503"]),
        ("keys", &[("x-gpu", "1"), ("x-stage", "2")], &["503"]),
    ];
    for (name, headers, expected) in cases {
        let request = Request::get(&format!("/{name}/"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let mut reached: Vec<String> = Protocol::BOTH
            .into_iter()
            .cycle()
            .take(60)
            .map(|protocol| {
                let answer = send(protocol, address, &request).unwrap().complete().unwrap();
                if answer.status() == 200 { answer.text() } else { answer.status().to_string() }
            })
            .collect();
        reached.sort();
        reached.dedup();
        assert_eq!(reached, expected, "{name} {headers:?}");
    }
}

/// The vendor's headers, as its own configuration has them.
fn behind_dynamic_subset(installed: &Installed) {
    let keys = ["model.format.tensorflow", "model.format.pytorch"];
    let servers = ["tensorflow-1", "tensorflow-2", "pytorch-1", "pytorch-2"].map(Server::start);
    let endpoints = [0, 2, 1, 3].map(|index| {
        let mut endpoint = endpoint(&servers[index], "");
        endpoint["metadata"]["filter_metadata"] = json!({"envoy.lb": {keys[index / 2]: "true"}});
        endpoint
    });
    let by_keys = policy(&json!({"keys": keys.map(|key| json!({"key": key}))}));
    let list = keys.map(|key| json!({"header": format!("x-{}", key.replace('.', "-")), "key": key}));
    let filter = json!({
        "name": "dynamic-subset",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": module(),
            "filter_name": "dynamic_subset",
            "filter_config": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": json!({"headerToDynamicSubsetKey": list}).to_string(),
            },
        },
    });
    let models = cluster("models", &by_keys, &endpoints);
    let envoy = Groups::default().cluster(models).filter(filter).workers(2).start(installed);
    let address = envoy.address("http").unwrap();
    let forged = "x-subset-model.format.pytorch";
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[("x-model-format-tensorflow", "true")], "tensorflow-"),
        (&[("x-model-format-pytorch", "true")], "pytorch-"),
        (&[("x-model-format-tensorflow", "true"), (forged, "true")], "tensorflow-"),
        (&[(forged, "no such group")], ""),
        (&[("x-model-format-tensorflow", "false")], "no healthy upstream"),
    ];
    for (headers, expected) in cases {
        let request = headers
            .iter()
            .fold(Request::get("/models/"), |request, (name, value)| request.header(name, value));
        for protocol in Protocol::BOTH.into_iter().cycle().take(40) {
            let answer = send(protocol, address, &request).unwrap().complete().unwrap().text();
            assert!(answer.starts_with(expected), "{headers:?}: {answer}");
            assert!(expected.contains(' ') || servers.iter().any(|server| server.name == answer), "{answer}");
        }
    }
}

fn shared_address(installed: &Installed) {
    let [both, b1, c1] = ["both", "b1", "c1"].map(Server::start);
    let mut ill = endpoint(&both, "c");
    ill["health_status"] = json!("UNHEALTHY");
    let endpoints = [ill, endpoint(&c1, "c"), endpoint(&both, "a"), endpoint(&b1, "b"), endpoint(&both, "b")];
    let models = cluster("models", &policy(&json!({"keys": [{"key": "group"}]})), &endpoints);
    let envoy = Groups::default().cluster(models).start(installed);
    let address = envoy.address("http").unwrap();
    for (group, expected) in [("a", &["both"][..]), ("b", &["b1", "both"]), ("c", &["c1"])] {
        let request = Request::get("/models/").header("x-subset-group", group);
        let mut reached: Vec<String> =
            (0..60).map(|_| send(Protocol::Http2, address, &request).unwrap().text()).collect();
        reached.sort();
        reached.dedup();
        assert_eq!(reached, expected, "{group}");
    }
}

fn stock_features(installed: &Installed) {
    let [a1, a2, b1, b2] = ["a1", "a2", "b1", "b2"].map(Server::start);
    let by_group = policy(&json!({"keys": [{"key": "group"}]}));

    // Of `a`, the first priority's only endpoint is ill; `b` is well there.
    let mut ill = endpoint(&a1, "a");
    ill["health_status"] = json!("UNHEALTHY");
    let mut priorities = cluster("priorities", &by_group, &[]);
    priorities["load_assignment"]["endpoints"] = json!([
        {"priority": 0, "lb_endpoints": [ill, endpoint(&b1, "b")]},
        {"priority": 1, "lb_endpoints": [endpoint(&a2, "a"), endpoint(&b2, "b")]},
    ]);
    // The first of `c` answers every request with a 503, and has nearly all the weight.
    let failing = Server::start("failing");
    failing.odd.default_script(Script::plain(503, "text/plain", "failing"));
    let weighted = |server: &Server, weight: u32| {
        let mut endpoint = endpoint(server, "c");
        endpoint["load_balancing_weight"] = json!(weight);
        endpoint
    };
    let retries =
        cluster("retries", &by_group, &[weighted(&failing, 100), weighted(&a2, 1), endpoint(&b1, "b")]);
    let sessions =
        cluster("sessions", &by_group, &[&a1, &a2, &b1].map(|server| endpoint(server, &server.name[..1])));
    let envoy = Groups::default().cluster(priorities).cluster(retries).cluster(sessions).start(installed);
    let address = envoy.address("http").unwrap();
    let ask = |path: &str, group: &str, session: Option<&[u8]>| {
        let request = Request::get(path).header("x-subset-group", group);
        let request = session.iter().fold(request, |request, session| request.header("x-session", session));
        send(Protocol::Http1, address, &request).unwrap().complete().unwrap()
    };
    for (group, expected) in [("a", "a2"), ("b", "b1")] {
        assert!((0..20).all(|_| ask("/priorities/", group, None).text() == expected), "{group}");
    }

    for _ in 0..20 {
        let answer = ask("/retries/", "c", None);
        assert_eq!((answer.status(), answer.text().as_str()), (200, "a2"));
    }
    assert!(envoy.stat("cluster.retries.upstream_rq_retry").unwrap() > 0);

    // Envoy asks for a session's endpoint before it asks a policy, so it outranks even the group.
    let first = ask("/sessions/", "a", None);
    let session = first.header("x-session").unwrap().to_vec();
    for group in ["a", "b", "nobody"] {
        assert!((0..20).all(|_| ask("/sessions/", group, Some(&session)).text() == first.text()), "{group}");
    }
    let gone = ask("/sessions/", "b", Some(b"MTI3LjAuMC4xOjE="));
    assert_eq!(gone.text(), "b1", "a session whose endpoint there is not");
}

fn is_not_loaded(installed: &Installed) {
    let refused = |config: &Value, name: &str| {
        let mut policy = policy(config);
        policy["policies"][0]["typed_extension_config"]["typed_config"]["lb_policy_name"] = json!(name);
        Groups::default().cluster(cluster("models", &policy, &[])).refused(installed)
    };
    let key = json!({"keys": [{"key": "group"}], "no_group": "some"});
    for either_spelling in ["runtime-group", "runtime_group"] {
        let said = refused(&key, either_spelling);
        assert!(said.contains("runtime-group: configuration key no_group: unknown variant `some`"), "{said}");
    }
    let said = refused(&json!({"keys": [{"header": "x-runtime"}]}), "runtime-group");
    assert!(said.contains("configuration key keys[0]: must have either key or istio_workload"), "{said}");
    let said = refused(&json!({}), "runtime-groups");
    let expected = "unknown lb_policy_name \"runtime-groups\"; this module has: runtime-group";
    assert!(said.contains(expected), "{said}");
}

fn panics(installed: &Installed) {
    let server = Server::start("a1");
    let modules = PathBuf::from(std::env::var_os("TEST_MODULES").unwrap_or_default());
    let probe = |config: &str| {
        let mut policy = policy(&Value::Null);
        let typed = &mut policy["policies"][0]["typed_extension_config"]["typed_config"];
        typed["lb_policy_name"] = json!("panicking-policy");
        typed["lb_policy_config"]["value"] = json!(config);
        typed["dynamic_module_config"]["name"] = json!("test_module");
        typed["dynamic_module_config"]["module"]["local"]["filename"] =
            json!(modules.join("libtest_module.so"));
        Groups::default().modules(&modules).cluster(cluster("models", &policy, &[endpoint(&server, "a")]))
    };
    let envoy = probe("").start(installed);
    let address = envoy.address("http").unwrap();
    let ask = |request: &Request| send(Protocol::Http1, address, request).unwrap().complete().unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&Request::get("/models/")).text(), "a1");
        assert_eq!(ask(&Request::get("/models/").header("x-panic", "yes")).status(), 503);
    }
    assert_eq!(ask(&Request::get("/models/")).text(), "a1");
    assert!(envoy.log().contains("told to panic"), "{}", envoy.log());

    let said = probe("panic").refused(installed);
    assert!(said.contains("the policy panicked while it was configured"), "{said}");
}
