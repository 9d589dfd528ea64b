//! Tunnels to a waypoint of the tests' own.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use mesh::hbone::{Identity, Tunnel};
use tokio::runtime::Runtime;

use crate::istiod::Istiod;
use crate::waypoint::{FLOOD, Waypoint};
use crate::{BOUND, assert_refused, runtime};

/// More than all windows and socket buffers together.
const MUCH: usize = 64 << 20;
/// What windows and socket buffers may hold together, with room to spare.
const BUFFERED: usize = 40 << 20;
/// How long a direction must have stood still to be taken for stalled.
const STALLED: Duration = Duration::from_millis(500);
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

struct World {
    runtime: Runtime,
    istiod: Istiod,
    waypoint: Waypoint,
    caller: Identity,
}

impl World {
    fn new() -> Self {
        let runtime = runtime();
        let istiod = Istiod::start(runtime.handle());
        let waypoint = Waypoint::start(runtime.handle(), &istiod.identity("models", "waypoint"));
        let caller = istiod.identity("clients", "curl");
        Self { runtime, istiod, waypoint, caller }
    }

    fn tunnel(&self, authority: &str) -> Tunnel {
        self.open(authority, &self.caller).unwrap()
    }

    fn open(&self, authority: &str, caller: &Identity) -> anyhow::Result<Tunnel> {
        Tunnel::open(self.runtime.handle(), self.waypoint.address, authority, caller, SOURCE)
    }
}

fn connect(tunnel: &Tunnel) -> TcpStream {
    let client = TcpStream::connect_timeout(&tunnel.address(), BOUND).unwrap();
    client.set_read_timeout(Some(BOUND)).unwrap();
    client.set_write_timeout(Some(BOUND)).unwrap();
    client
}

/// Sends `text`, closes that side, and returns what comes back.
fn say(tunnel: &Tunnel, text: &str) -> String {
    let mut client = connect(tunnel);
    client.write_all(text.as_bytes()).unwrap();
    end(&mut client)
}

/// Closes the sending side, and returns what still comes back.
fn end(client: &mut TcpStream) -> String {
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    heard
}

/// Hears exactly that.
fn hear(client: &mut TcpStream, text: &str) {
    let mut heard = vec![0; text.len()];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(heard, text.as_bytes());
}

fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + BOUND;
    while !reached() {
        assert!(Instant::now() < deadline, "not within {BOUND:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn echoed() {
    let world = World::new();
    let tunnel = world.tunnel("echo:80");
    assert!(tunnel.address().ip().is_loopback());
    assert_eq!(tunnel.peer().as_deref(), Some("spiffe://cluster.local/ns/models/sa/waypoint"));
    let mut client = connect(&tunnel);
    for text in ["one", "two"] {
        client.write_all(text.as_bytes()).unwrap();
        hear(&mut client, text);
    }
    // What the waypoint says only after the client's end still arrives, and then its own end.
    assert_eq!(end(&mut client), "; over");
    assert_eq!(say(&tunnel, ""), "; over");
}

pub(crate) fn shared() {
    let world = World::new();
    let tunnel = world.tunnel("echo:80");
    let mut clients: Vec<_> = (0..20).map(|_| connect(&tunnel)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(number.to_string().as_bytes()).unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(end(client), format!("{number}; over"));
    }
    assert_eq!((world.waypoint.connections(), tunnel.connections()), (1, 1));
    assert_eq!(world.waypoint.sources()[0].ip(), SOURCE);
}

pub(crate) fn replaced() {
    let world = World::new();
    let tunnel = world.tunnel("echo:80");
    let mut client = connect(&tunnel);
    client.write_all(b"one").unwrap();
    hear(&mut client, "one");
    world.waypoint.hang_up();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(say(&tunnel, "two"), "two; over");
    assert_eq!((world.waypoint.connections(), tunnel.connections()), (2, 2));
    assert_eq!(tunnel.failures(), [] as [&str; 0]);
}

pub(crate) fn going_away() {
    let world = World::new();
    let tunnel = world.tunnel("echo:80");
    let mut client = connect(&tunnel);
    client.write_all(b"one").unwrap();
    hear(&mut client, "one");
    world.waypoint.go_away();
    wait_until("a client on a new connection", || {
        assert_eq!(say(&tunnel, "two"), "two; over");
        tunnel.connections() == 2
    });
    client.write_all(b"more").unwrap();
    assert_eq!(end(&mut client), "more; over");
}

pub(crate) fn refused() {
    let world = World::new();
    for status in [403, 503] {
        let tunnel = world.tunnel(&format!("status-{status}:80"));
        for refusals in [1, 2] {
            assert_eq!(connect(&tunnel).read(&mut [0]).unwrap(), 0);
            assert_eq!(tunnel.refusals(), vec![status; refusals]);
        }
        assert_eq!(tunnel.failures(), [] as [&str; 0]);
    }
}

pub(crate) fn cut_off() {
    let world = World::new();
    let tunnel = world.tunnel("cut:80");
    let mut client = connect(&tunnel);
    hear(&mut client, "half a ");
    client.write_all(b"and?").unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

pub(crate) fn wants_no_more() {
    let world = World::new();
    let tunnel = world.tunnel("short:80");
    let (mut client, mut heard) = (connect(&tunnel), String::new());
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "that is all");
    client.write_all(b"one thing more").unwrap();
    world.waypoint.let_go();
    wait_until("the client is closed", || client.write(b"?").is_err());
}

pub(crate) fn slow_waypoint() {
    let world = World::new();
    let (held, echo) = (world.tunnel("held:80"), world.tunnel("echo:80"));
    let mut client = connect(&held);
    client.set_write_timeout(Some(STALLED)).unwrap();
    let chunk = vec![7; 1 << 20];
    let mut written = 0;
    let stalled = loop {
        match client.write(&chunk) {
            Ok(length) => written += length,
            Err(error) => break error.kind(),
        }
        assert!(written < BUFFERED, "{written} bytes were taken and not asked for");
    };
    assert_eq!(stalled, ErrorKind::WouldBlock);
    // On the same connection, too.
    let idle = connect(&held);
    assert_eq!(say(&echo, "still here"), "still here; over");
    drop(idle);
    client.set_write_timeout(Some(BOUND)).unwrap();
    world.waypoint.let_go();
    while written < MUCH {
        written += client.write(&chunk).unwrap();
    }
    assert_eq!(end(&mut client), written.to_string());
}

pub(crate) fn slow_client() {
    let world = World::new();
    let tunnel = world.tunnel("flood:80");
    let mut client = connect(&tunnel);
    let (mut seen, mut since) = (0, Instant::now());
    wait_until("the waypoint stalls", || {
        let flooded = world.waypoint.flooded();
        if flooded != seen {
            (seen, since) = (flooded, Instant::now());
        }
        flooded > 0 && since.elapsed() > STALLED
    });
    assert!(seen < BUFFERED, "{seen} bytes were sent and not read");
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    assert_eq!(heard.len(), FLOOD);
}

pub(crate) fn strangers() {
    let world = World::new();
    let without = Identity::none(&world.istiod.roots_pem());
    assert_refused(&world.open("echo:80", &without).err().unwrap(), "CertificateRequired");
    let elsewhere = Istiod::start(world.runtime.handle());
    let error = format!("{:#}", world.open("echo:80", &elsewhere.identity("clients", "curl")).err().unwrap());
    assert!(error.contains("TLS: invalid peer certificate"), "{error}");
    // It trusts the waypoint, which does not trust it.
    let stranger = elsewhere.identity("clients", "curl");
    let stranger =
        Identity::from_pem(stranger.chain_pem(), stranger.key_pem(), &world.istiod.roots_pem()).unwrap();
    assert_refused(&world.open("echo:80", &stranger).err().unwrap(), "");
}

pub(crate) fn dropped() {
    let world = World::new();
    let tunnel = world.tunnel("echo:80");
    let address = tunnel.address();
    let mut client = connect(&tunnel);
    client.write_all(b"one").unwrap();
    hear(&mut client, "one");
    drop(tunnel);
    assert_eq!(TcpStream::connect_timeout(&address, BOUND).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}
