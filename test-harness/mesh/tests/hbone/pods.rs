//! Pods whose HBONE ends in stock Envoy, called through tunnels as a waypoint would.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use e2e::{Installed, free_ports};
use mesh::hbone::{Identity, Tunnel};
use mesh::redirect::{Call, Pod, Redirect};
use socket2::{Domain, Socket, Type};
use tokio::runtime::Runtime;

use crate::istiod::Istiod;
use crate::{BOUND, assert_refused, runtime};

const CALLER: IpAddr = ip(8);
const MUCH: usize = 5 << 20;

const fn ip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

struct World {
    runtime: Runtime,
    istiod: Istiod,
    redirect: Redirect,
    port: u16,
    caller: Identity,
}

impl World {
    fn new(envoy: &Installed) -> Self {
        let runtime = runtime();
        let istiod = Istiod::start(runtime.handle());
        let port = free_ports(1).unwrap()[0];
        let redirect = Redirect::start(&envoy.path, port).unwrap();
        let caller = istiod.identity("models", "waypoint");
        Self { runtime, istiod, redirect, port, caller }
    }

    /// A pod with a server of [`echo`].
    fn pod(&self, ip: IpAddr) -> Pod {
        let port = echo(ip).port();
        Pod { ip, ports: vec![port], identity: self.istiod.identity("models", "triton") }
    }

    /// As a waypoint goes to a pod.
    fn tunnel(&self, pod: &Pod, caller: &Identity) -> anyhow::Result<Tunnel> {
        let authority = SocketAddr::new(pod.ip, pod.ports[0]).to_string();
        let hbone = SocketAddr::new(pod.ip, self.port);
        Tunnel::open(self.runtime.handle(), hbone, &authority, caller, CALLER)
    }
}

/// A server that sends back what comes, then `; over`.
fn echo(ip: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            thread::spawn(move || {
                let copied = std::io::copy(&mut client.try_clone().unwrap(), &mut client);
                copied.and_then(|_| client.write_all(b"; over"))
            });
        }
    });
    address
}

/// Sends all of it, closes that side, and returns everything that came back.
fn exchange(tunnel: &Tunnel, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let client = TcpStream::connect_timeout(&tunnel.address(), BOUND)?;
    client.set_read_timeout(Some(BOUND))?;
    client.set_write_timeout(Some(BOUND))?;
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            (&client).write_all(bytes)?;
            client.shutdown(Shutdown::Write)
        });
        let mut heard = Vec::new();
        (&client).read_to_end(&mut heard)?;
        writer.join().unwrap()?;
        Ok(heard)
    })
}

pub(crate) fn five_megabytes(envoy: &Installed) {
    let world = World::new(envoy);
    let pod = world.pod(ip(2));
    world.redirect.add(pod.clone()).unwrap();
    let tunnel = world.tunnel(&pod, &world.caller).unwrap();
    assert_eq!(tunnel.peer().as_deref(), Some("spiffe://cluster.local/ns/models/sa/triton"));
    let bytes: Vec<u8> = (0..MUCH).map(|at| ((at * 31) >> 3) as u8).collect();
    let heard = exchange(&tunnel, &bytes).unwrap();
    assert_eq!(heard.len(), MUCH + 6);
    assert!(heard[..MUCH] == bytes && heard.ends_with(b"; over"));
    assert_eq!((tunnel.refusals(), tunnel.failures()), (vec![], vec![]));
}

pub(crate) fn ends_first(envoy: &Installed) {
    let world = World::new(envoy);
    let listener = TcpListener::bind((ip(2), 0)).unwrap();
    let pod = Pod { ports: vec![listener.local_addr().unwrap().port()], ..world.pod(ip(2)) };
    thread::spawn(move || {
        for client in listener.incoming() {
            client.unwrap().write_all(&vec![7; MUCH]).unwrap();
        }
    });
    world.redirect.add(pod.clone()).unwrap();
    let tunnel = world.tunnel(&pod, &world.caller).unwrap();
    for _ in 0..5 {
        let mut client = TcpStream::connect_timeout(&tunnel.address(), BOUND).unwrap();
        client.set_read_timeout(Some(BOUND)).unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap();
        assert_eq!(heard.len(), MUCH);
    }
    assert_eq!(tunnel.connections(), 1);
}

pub(crate) fn beside_a_waypoint(envoy: &Installed) {
    let world = World::new(envoy);
    let waypoint = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    waypoint.set_reuse_port(true).unwrap();
    waypoint.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, world.port)).into()).unwrap();
    waypoint.listen(1).unwrap();
    let pod = world.pod(ip(2));
    world.redirect.add(pod.clone()).unwrap();
    for _ in 0..10 {
        let tunnel = world.tunnel(&pod, &world.caller).unwrap();
        assert_eq!(exchange(&tunnel, b"one").unwrap(), b"one; over");
    }
    waypoint.set_nonblocking(true).unwrap();
    assert_eq!(waypoint.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

pub(crate) fn who_called(envoy: &Installed) {
    let world = World::new(envoy);
    assert_eq!(world.redirect.calls().unwrap(), []);
    let (one, two) = (world.pod(ip(2)), world.pod(ip(3)));
    world.redirect.add(one.clone()).unwrap();
    world.redirect.add(two.clone()).unwrap();
    assert_eq!(world.redirect.pods(), [one.ip, two.ip]);
    let gateway = world.istiod.identity("edge", "gateway");
    for (pod, caller) in [(&one, &world.caller), (&two, &gateway)] {
        let heard = exchange(&world.tunnel(pod, caller).unwrap(), b"hello").unwrap();
        assert_eq!(heard, b"hello; over");
    }
    let call = |pod: &Pod, port, caller: &Identity| Call {
        pod: pod.ip,
        port: Some(port),
        peer: caller.spiffe_id().into(),
        source: CALLER,
    };
    let mut expected = vec![call(&one, one.ports[0], &world.caller), call(&two, two.ports[0], &gateway)];
    assert_eq!(world.redirect.calls().unwrap(), expected);

    // A port that no container has is not reached, and is a call all the same.
    let elsewhere = Pod { ports: vec![1], ..one.clone() };
    let tunnel = world.tunnel(&elsewhere, &gateway).unwrap();
    assert_eq!(exchange(&tunnel, b"").unwrap(), b"");
    assert_eq!(tunnel.refusals(), [404]);
    expected.push(call(&one, 1, &gateway));
    assert_eq!(world.redirect.calls().unwrap(), expected);
}

pub(crate) fn without_certificate(envoy: &Installed) {
    let world = World::new(envoy);
    let pod = world.pod(ip(2));
    world.redirect.add(pod.clone()).unwrap();
    let stranger = Identity::none(&world.istiod.roots_pem());
    assert_refused(&world.tunnel(&pod, &stranger).err().unwrap(), "CertificateRequired");
    assert_eq!(world.redirect.calls().unwrap(), []);
}

pub(crate) fn removed(envoy: &Installed) {
    let world = World::new(envoy);
    let pod = world.pod(ip(2));
    world.redirect.add(pod.clone()).unwrap();
    let tunnel = world.tunnel(&pod, &world.caller).unwrap();
    assert_eq!(exchange(&tunnel, b"one").unwrap(), b"one; over");
    world.redirect.remove(pod.ip).unwrap();
    assert_eq!(exchange(&tunnel, b"").unwrap(), b"");
    let failures = tunnel.failures();
    assert!(failures.len() == 1 && failures[0].contains("Connection refused"), "{failures:?}");
    let again = world.redirect.remove(pod.ip).unwrap_err().to_string();
    assert_eq!(again, "remove the pod 127.0.0.2: it was not added, or has been removed");

    world.redirect.add(pod).unwrap();
    assert_eq!(exchange(&tunnel, b"two").unwrap(), b"two; over");
}

pub(crate) fn coming_and_going(envoy: &Installed) {
    let world = World::new(envoy);
    let (stays, comes) = (world.pod(ip(2)), world.pod(ip(3)));
    world.redirect.add(stays.clone()).unwrap();
    let tunnel = world.tunnel(&stays, &world.caller).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut exchanges = 0;
            while !done.load(Ordering::SeqCst) {
                assert_eq!(exchange(&tunnel, b"load").unwrap(), b"load; over");
                exchanges += 1;
            }
            exchanges
        });
        for _ in 0..3 {
            world.redirect.add(comes.clone()).unwrap();
            let tunnel = world.tunnel(&comes, &world.caller).unwrap();
            assert_eq!(exchange(&tunnel, b"new").unwrap(), b"new; over");
            world.redirect.remove(comes.ip).unwrap();
        }
        done.store(true, Ordering::SeqCst);
        assert!(load.join().unwrap() > 0);
    });
    assert_eq!((tunnel.connections(), tunnel.refusals()), (1, vec![]));
}

pub(crate) fn impossible(envoy: &Installed) {
    let world = World::new(envoy);
    let pod = world.pod(ip(2));
    world.redirect.add(pod.clone()).unwrap();
    // An address for documentation, which no machine has (RFC 5737).
    let foreign = Pod { ip: Ipv4Addr::new(192, 0, 2, 1).into(), ..pod.clone() };
    let error = format!("{:#}", world.redirect.add(foreign).unwrap_err());
    assert!(error.starts_with("end HBONE for the pod 192.0.2.1: Envoy refuses its new file:"), "{error}");
    assert!(error.contains("annot assign requested address"), "{error}");
    assert_eq!(world.redirect.pods(), [pod.ip]);
    let tunnel = world.tunnel(&pod, &world.caller).unwrap();
    assert_eq!(exchange(&tunnel, b"one").unwrap(), b"one; over");
}
