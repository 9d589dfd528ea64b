//! Clients that never stop asking, each on a connection of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use e2e::{Request, h1};

use crate::groups::Server;

const PATIENCE: Duration = Duration::from_secs(20);
const BOUND: Duration = Duration::from_secs(60);
/// So many requests, over both groups and all workers, show who is served and who is not.
const WINDOW: u64 = 200;

/// How often a group's request ended with a status and an answer.
pub(crate) type Tally = BTreeMap<(String, u16, String), u64>;

/// Load on two groups, `a` and `b`, in turn.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr, path: &'static str, clients: usize) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |_| {
            let (stop, answered) = (stop.clone(), answered.clone());
            std::thread::spawn(move || asks(address, path, &stop, &answered))
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, answered, clients }
    }

    /// Waits until each of the servers has been reached anew.
    pub(crate) fn reaches(&self, servers: &[&Server]) {
        let before: Vec<u64> = servers.iter().map(|server| server.served()).collect();
        self.wait("a server is not reached", || {
            servers.iter().zip(&before).all(|(server, before)| server.served() > *before)
        });
    }

    /// Waits until none of the servers is reached any more: workers hear of a change one after the other.
    pub(crate) fn leaves(&self, servers: &[&Server]) {
        let now = || servers.iter().map(|server| server.served()).sum::<u64>();
        self.wait("servers are still reached", || {
            let before = now();
            let until = self.answered.load(Ordering::Relaxed) + WINDOW;
            self.wait("no answers", || self.answered.load(Ordering::Relaxed) >= until);
            now() == before
        });
    }

    fn wait(&self, what: &str, enough: impl Fn() -> bool) {
        let start = Instant::now();
        while !enough() {
            assert!(start.elapsed() < BOUND, "{what}");
            assert!(self.clients.iter().all(|client| !client.is_finished()), "a client has ended");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::new();
        for client in self.clients {
            for (key, times) in client.join().unwrap() {
                *all.entry(key).or_default() += times;
            }
        }
        all
    }
}

fn asks(address: SocketAddr, path: &str, stop: &AtomicBool, answered: &AtomicU64) -> Tally {
    let mut connection = h1::Connection::open(address, PATIENCE).unwrap();
    let requests = ["a", "b"].map(|group| (group, Request::get(path).header("x-subset-group", group)));
    let mut tally = Tally::new();
    for (group, request) in requests.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let answer = connection.send(request).unwrap().complete().unwrap();
        *tally.entry(((*group).to_owned(), answer.status(), answer.text())).or_default() += 1;
        answered.fetch_add(1, Ordering::Relaxed);
    }
    tally
}
