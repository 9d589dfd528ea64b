use super::*;
use crate::fake::{Cluster, Endpoint, Request};
use filter_api::HostMetadata;
use proptest::prelude::*;
use std::collections::BTreeMap;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const BY_GROUP: &str = r#"{"keys": [{"key": "group", "header": "x-group"}]}"#;

fn worker(json: &str, cluster: &Cluster) -> Worker {
    let mut worker = Arc::new(RuntimeGroup::configure(json.as_bytes()).unwrap()).balancer(7);
    worker.hosts(cluster);
    worker
}

/// How often each endpoint is chosen; `-` stands for none.
fn tally(worker: &mut Worker, cluster: &Cluster, request: &Request, times: usize) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for _ in 0..times {
        let host = worker.choose(request, cluster).host;
        let address = host.map_or("-", |host| &cluster.chosen(host).address);
        *tally.entry(address.to_owned()).or_default() += 1;
    }
    tally
}

fn chosen(worker: &mut Worker, cluster: &Cluster, request: &Request) -> Vec<String> {
    tally(worker, cluster, request, 200).into_keys().collect()
}

#[test]
fn an_unhealthy_endpoint_moves_no_request_into_another_group() {
    let cluster = Cluster::new(vec![
        Endpoint::of("tf", "t1").unhealthy(),
        Endpoint::of("tf", "t2"),
        Endpoint::of("pt", "p1"),
        Endpoint::of("pt", "p2").unhealthy(),
        Endpoint::of("tf", "t3"),
    ]);
    let mut worker = worker(BY_GROUP, &cluster);
    assert_eq!(chosen(&mut worker, &cluster, &Request::with("x-group", "tf")), ["t2", "t3"]);
    assert_eq!(chosen(&mut worker, &cluster, &Request::with("x-group", "pt")), ["p1"]);
}

#[test]
fn endpoints_that_come_go_and_recover_are_followed() {
    let tf = Request::with("x-group", "tf");
    let mut cluster = Cluster::new(vec![Endpoint::of("tf", "t1"), Endpoint::of("pt", "p1")]);
    let mut worker = worker(BY_GROUP, &cluster);
    assert_eq!(chosen(&mut worker, &cluster, &tf), ["t1"]);

    cluster.priorities[0].insert(0, Endpoint::of("tf", "t0").unhealthy());
    cluster.priorities[0].insert(0, Endpoint::of("pt", "p0"));
    cluster.update();
    worker.hosts(&cluster);
    assert_eq!(chosen(&mut worker, &cluster, &tf), ["t1"]);

    cluster.recovers_unnoticed(0, 1);
    cluster.update();
    worker.hosts(&cluster);
    assert_eq!(chosen(&mut worker, &cluster, &tf), ["t0", "t1"]);

    cluster.priorities[0].retain(|endpoint| endpoint.address != "t1");
    cluster.update();
    worker.hosts(&cluster);
    assert_eq!(chosen(&mut worker, &cluster, &tf), ["t0"]);
}

#[test]
fn lists_that_change_without_a_word_are_read_again() {
    let mut cluster = Cluster::new(vec![Endpoint::of("pt", "p1"), Endpoint::of("tf", "t1")]);
    let mut worker = worker(BY_GROUP, &cluster);
    cluster.priorities[0].reverse();
    cluster.update();
    assert_eq!(chosen(&mut worker, &cluster, &Request::with("x-group", "tf")), ["t1"]);
    assert_eq!(chosen(&mut worker, &cluster, &Request::with("x-group", "pt")), ["p1"]);
}

#[test]
fn one_address_may_stand_for_two_groups() {
    let cluster = Cluster::new(vec![
        Endpoint::of("tf", "both"),
        Endpoint::of("pt", "p1"),
        Endpoint::of("pt", "both").unhealthy(),
    ]);
    let mut worker = worker(BY_GROUP, &cluster);
    assert_eq!(chosen(&mut worker, &cluster, &Request::with("x-group", "tf")), ["both"]);
    assert_eq!(chosen(&mut worker, &cluster, &Request::with("x-group", "pt")), ["p1"]);
}

#[test]
fn each_fallback_has_its_case_and_its_counter() {
    let cluster = Cluster::new(vec![
        Endpoint::of("tf", "t1"),
        Endpoint::of("pt", "p1").unhealthy(),
        Endpoint::new("none1"),
    ]);
    let everyone = vec!["none1", "t1"];
    let cases = [
        ("no_group", vec![], metrics::NO_GROUP),
        ("no_group", vec![("x-group", &b""[..])], metrics::NO_GROUP),
        ("unknown_group", vec![("x-group", b"onnx")], metrics::UNKNOWN_GROUP),
        ("unknown_group", vec![("x-group", b"TF")], metrics::UNKNOWN_GROUP),
        ("unknown_group", vec![("x-group", b"\xff\x00")], metrics::UNKNOWN_GROUP),
        ("unknown_group", vec![("x-group", b"tf"), ("x-group", b"pt")], metrics::UNKNOWN_GROUP),
        ("unhealthy_group", vec![("x-group", b"pt")], metrics::UNHEALTHY_GROUP),
    ];
    for (key, headers, counter) in cases {
        let request = Request { headers, ..Request::default() };
        for (fallback, expected) in [("any", &everyone), ("none", &vec!["-"])] {
            let others = ["no_group", "unknown_group", "unhealthy_group"].map(|other| {
                let other_way = if fallback == "any" { "none" } else { "any" };
                format!(r#""{other}": "{}""#, if other == key { fallback } else { other_way })
            });
            let json = BY_GROUP.replacen('{', &format!("{{{},", others.join(", ")), 1);
            let mut worker = worker(&json, &cluster);
            assert_eq!(&chosen(&mut worker, &cluster, &request), expected, "{json} {request:?}");
            assert_eq!(worker.choose(&request, &cluster).count, Some(counter), "{json} {request:?}");
        }
    }
    let mut worker = worker(BY_GROUP, &cluster);
    let twice =
        Request { headers: vec![("x-group", b"tf"), ("x-group", b""), ("x-group", b"tf")], avoided: vec![] };
    for request in [Request::with("x-group", "tf"), twice] {
        let choice = worker.choose(&request, &cluster);
        assert_eq!((choice.host, choice.count), (Some(HostIndex { priority: 0, index: 0 }), None));
    }
}

#[test]
fn a_cluster_without_endpoints_serves_no_request() {
    let json = r#"{"keys": [{"key": "group"}], "unknown_group": "any"}"#;
    for cluster in
        [Cluster::default(), Cluster::new(vec![]), Cluster::new(vec![Endpoint::of("tf", "t").unhealthy()])]
    {
        let mut worker = worker(json, &cluster);
        assert_eq!(worker.choose(&Request::default(), &cluster).host, None);
        assert_eq!(worker.choose(&Request::with("x-subset-group", "x"), &cluster).host, None);
        assert_eq!(worker.choose(&Request::with("x-subset-group", "tf"), &cluster).host, None);
    }
}

#[test]
fn several_keys_make_one_group() {
    let endpoint = |address, format, version| {
        let text = |text: &'static str| HostMetadata::Text(text.as_bytes());
        let endpoint = Endpoint::new(address).metadata("envoy.lb", "format", text(format));
        endpoint.metadata("com.example", "version", text(version))
    };
    let cluster = Cluster::new(vec![
        endpoint("tf1", "tf", "1"),
        endpoint("tf2", "tf", "2"),
        endpoint("pt1", "pt", "1"),
    ]);
    let json = r#"{"keys": [
        {"key": "format"},
        {"key": "version", "namespace": "com.example", "header": "X-Version"}
    ]}"#;
    let mut worker = worker(json, &cluster);
    let mut of = |headers: &[(&'static str, &'static [u8])]| {
        let request = Request { headers: headers.to_vec(), avoided: vec![] };
        chosen(&mut worker, &cluster, &request)
    };
    assert_eq!(of(&[("x-subset-format", b"tf")]), ["tf1", "tf2"]);
    assert_eq!(of(&[("x-version", b"1")]), ["pt1", "tf1"]);
    assert_eq!(of(&[("x-version", b"2"), ("x-subset-format", b"tf")]), ["tf2"]);
    // Each value is known, but no endpoint has both.
    assert_eq!(of(&[("x-version", b"2"), ("x-subset-format", b"pt")]), ["-"]);
    assert_eq!(of(&[("x-version", b"3"), ("x-subset-format", b"pt")]), ["-"]);
}

#[test]
fn a_request_goes_to_the_least_loaded_of_its_group_and_ties_are_shared() {
    let cluster = Cluster::new(vec![
        Endpoint::of("tf", "busy").active(3),
        Endpoint::of("tf", "less").active(2),
        Endpoint::of("tf", "same").active(2),
        Endpoint::of("pt", "idle"),
    ]);
    let mut worker = worker(BY_GROUP, &cluster);
    let tally = tally(&mut worker, &cluster, &Request::with("x-group", "tf"), 1000);
    assert_eq!(tally.keys().collect::<Vec<_>>(), ["less", "same"]);
    assert!(tally.values().all(|&times| (400..600).contains(&times)), "{tally:?}");
}

#[test]
fn weights_count_at_rest_and_under_load() {
    let idle = Cluster::new(vec![Endpoint::of("tf", "one"), Endpoint::of("tf", "three").weight(3)]);
    let mut worker = worker(BY_GROUP, &idle);
    let tf = Request::with("x-group", "tf");
    let share = tally(&mut worker, &idle, &tf, 4000)["three"];
    assert!((2850..3150).contains(&share), "{share} of 4000");

    // 3 / (5 + 1) is half of 1 / (0 + 1).
    let mut loaded = idle;
    loaded.priorities[0][1].active = 5;
    let share = tally(&mut worker, &loaded, &tf, 3000)["three"];
    assert!((870..1130).contains(&share), "{share} of 3000");
}

#[test]
fn in_a_large_group_everyone_has_a_turn() {
    let endpoints = (0..100).map(|index| Endpoint::of("tf", &format!("t{index}"))).collect();
    let cluster = Cluster::new(endpoints);
    let mut worker = worker(BY_GROUP, &cluster);
    let tally = tally(&mut worker, &cluster, &Request::with("x-group", "tf"), 10_000);
    assert_eq!(tally.len(), 100);
    assert!(tally.values().all(|&times| (50..170).contains(&times)), "{tally:?}");
}

#[test]
fn priorities_are_a_groups_own() {
    // The cluster's first priority is well, but not for `tf`.
    let cluster = Cluster::with_priorities(vec![
        vec![
            Endpoint::of("tf", "t1").unhealthy(),
            Endpoint::of("pt", "p1"),
            Endpoint::of("pt", "p2"),
            Endpoint::of("onnx", "o1"),
            Endpoint::of("onnx", "o2").unhealthy(),
        ],
        vec![Endpoint::of("tf", "t9"), Endpoint::of("pt", "p9"), Endpoint::of("onnx", "o9")],
    ]);
    let mut worker = worker(BY_GROUP, &cluster);
    assert_eq!(chosen(&mut worker, &cluster, &Request::with("x-group", "tf")), ["t9"]);
    assert_eq!(chosen(&mut worker, &cluster, &Request::with("x-group", "pt")), ["p1", "p2"]);
    // One of two is healthy: 1.4 times that is 70 %.
    let share = tally(&mut worker, &cluster, &Request::with("x-group", "onnx"), 2000)["o1"];
    assert!((1300..1500).contains(&share), "{share} of 2000");
}

#[test]
fn a_retry_avoids_what_it_should_and_stays_in_its_group() {
    let cluster = Cluster::new(vec![
        Endpoint::of("tf", "t1"),
        Endpoint::of("tf", "t2").active(9),
        Endpoint::of("pt", "p1"),
    ]);
    let mut worker = worker(BY_GROUP, &cluster);
    let mut retry = Request { avoided: vec![0], ..Request::with("x-group", "tf") };
    assert_eq!(chosen(&mut worker, &cluster, &retry), ["t2"]);
    retry.avoided = vec![0, 1];
    assert_eq!(chosen(&mut worker, &cluster, &retry), ["t1"], "better the same endpoint than none");
}

#[test]
fn a_request_without_a_group_takes_part_in_the_load_of_all() {
    let cluster = Cluster::new(vec![
        Endpoint::of("tf", "t1").active(1),
        Endpoint::of("pt", "p1"),
        Endpoint::new("none1").active(1),
    ]);
    let mut worker = worker(BY_GROUP, &cluster);
    assert_eq!(chosen(&mut worker, &cluster, &Request::default()), ["p1"]);
}

/// One thing that happens to a cluster.
#[derive(Clone, Debug)]
enum Event {
    Added { priority: usize, place: usize, group: usize, address: u8, healthy: bool },
    Removed { priority: usize, place: usize },
    Turned { priority: usize, place: usize },
    Loaded { priority: usize, place: usize, active: u64 },
}

const GROUPS: [&str; 3] = ["a", "b", "c"];

fn event() -> impl Strategy<Value = Event> {
    let at = || (0..3_usize, 0..12_usize);
    prop_oneof![
        4 => (at(), 0..GROUPS.len(), 0..8_u8, prop::bool::weighted(0.7)).prop_map(
            |((priority, place), group, address, healthy)| Event::Added { priority, place, group, address, healthy }
        ),
        1 => at().prop_map(|(priority, place)| Event::Removed { priority, place }),
        2 => at().prop_map(|(priority, place)| Event::Turned { priority, place }),
        1 => (at(), 0..5_u64).prop_map(|((priority, place), active)| Event::Loaded { priority, place, active }),
    ]
}

fn apply(cluster: &mut Cluster, event: &Event) {
    match *event {
        Event::Added { priority, place, group, address, healthy } => {
            let endpoints = &mut cluster.priorities[priority];
            // Few addresses, so that one often stands for several groups.
            let mut endpoint = Endpoint::of(GROUPS[group], &format!("10.0.0.{address}:8033"));
            endpoint.healthy = healthy;
            endpoints.insert(place.min(endpoints.len()), endpoint);
        }
        Event::Removed { priority, place } => {
            let endpoints = &mut cluster.priorities[priority];
            if place < endpoints.len() {
                endpoints.remove(place);
            }
        }
        Event::Turned { priority, place } => {
            if let Some(endpoint) = cluster.priorities[priority].get_mut(place) {
                endpoint.healthy = !endpoint.healthy;
            }
        }
        Event::Loaded { priority, place, active } => {
            if let Some(endpoint) = cluster.priorities[priority].get_mut(place) {
                endpoint.active = active;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_a_cluster_no_request_crosses_into_another_group(
        events in prop::collection::vec(event(), 1..40),
    ) {
        let mut cluster = Cluster::with_priorities(vec![Vec::new(); 3]);
        let mut worker = worker(BY_GROUP, &cluster);
        for event in &events {
            apply(&mut cluster, event);
            cluster.update();
            worker.hosts(&cluster);
            for group in GROUPS {
                let choice = worker.choose(&Request::with("x-group", group), &cluster);
                let all = cluster.priorities.iter().flatten();
                let members: Vec<&Endpoint> =
                    all.filter(|endpoint| endpoint.group() == Some(group.as_bytes())).collect();
                let healthy = members.iter().any(|endpoint| endpoint.healthy);
                match choice.host {
                    Some(host) => {
                        let endpoint = cluster.chosen(host);
                        prop_assert_eq!(endpoint.group(), Some(group.as_bytes()));
                        prop_assert!(endpoint.healthy);
                        prop_assert_eq!(choice.count, None);
                    }
                    None => {
                        prop_assert!(!healthy, "{} has healthy endpoints: {:?}", group, members);
                        let unknown = members.is_empty();
                        let count = if unknown { metrics::UNKNOWN_GROUP } else { metrics::UNHEALTHY_GROUP };
                        prop_assert_eq!(choice.count, Some(count));
                    }
                }
            }
        }
    }

    #[test]
    fn even_while_the_healthy_list_lags_behind_a_request_reaches_an_address_of_its_group(
        events in prop::collection::vec(event(), 1..40),
        told in prop::collection::vec(any::<bool>(), 40),
    ) {
        let mut cluster = Cluster::with_priorities(vec![Vec::new(); 3]);
        let mut worker = worker(BY_GROUP, &cluster);
        for (event, told) in events.iter().zip(told) {
            apply(&mut cluster, event);
            // A change of health alone may come later, one of the members comes with its lists.
            if told || !matches!(event, Event::Turned { .. }) {
                cluster.update();
            }
            worker.hosts(&cluster);
            for group in GROUPS {
                if let Some(host) = worker.choose(&Request::with("x-group", group), &cluster).host {
                    let address = &cluster.chosen(host).address;
                    let mut all = cluster.priorities.iter().flatten();
                    let known = all.any(|endpoint| {
                        endpoint.group() == Some(group.as_bytes()) && endpoint.address == *address
                    });
                    prop_assert!(known, "{} is not an address of {}", address, group);
                }
            }
        }
    }
}
