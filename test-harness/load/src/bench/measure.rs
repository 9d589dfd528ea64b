//! One row: an Envoy per column, memory first, then timed rounds in which the columns take turns; all of it several
//! times over with new processes.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::bootstrap::{LISTENER, Setup};
use crate::client::{Client, Prepared, Reply};
use crate::column::Column;
use crate::exchange::Exchange;
use crate::idle;
use crate::plan::Plan;
use crate::row::Row;
use crate::streams;
use crate::upstream::{Recorder, Upstream};
use crate::verify;

/// Connections of the rows that are measured at once.
pub(crate) const CONNECTIONS: usize = 16;
/// Requests at once when memory is looked at.
const AT_ONCE: usize = 4;
/// Envoy counts as idle when it has used no CPU for this long.
const QUIET: Duration = Duration::from_millis(3);
/// How often it is looked at before it counts as idle anyway: housekeeping may never pause.
const LOOKS: usize = 200;

/// What a row came to.
pub(crate) struct Measured {
    pub(crate) row: Row,
    /// The column, or why it cannot serve the row.
    pub(crate) columns: Vec<(Column, std::result::Result<Numbers, &'static str>)>,
}

/// What was measured of one column in one row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    /// Bytes of the request's body as the client sends it.
    pub(crate) request_bytes: usize,
    /// Bytes of the answer's body as the client gets it.
    pub(crate) answer_bytes: usize,
    /// Envoy's CPU time per request, of each round.
    pub(crate) cpu: Vec<Duration>,
    /// Time from the first byte sent to the last byte read, of each request; with requests at once of each round
    /// (the mean).
    pub(crate) latency: Vec<Duration>,
    /// Requests per second, of each round. Only where requests are served at once.
    pub(crate) per_second: Vec<f64>,
    /// Resident memory after a stream above that before it, of each round. Only of long streams.
    pub(crate) growth: Vec<u64>,
    /// Resident memory after a tiny request.
    pub(crate) idle_bytes: u64,
    /// The most above idle during one request.
    pub(crate) peak_of_one: u64,
    /// The most above idle during four requests at once, after that one.
    pub(crate) peak_of_four: u64,
}

impl Numbers {
    /// Adds what was measured with another process.
    pub(crate) fn add(&mut self, more: Self) {
        self.cpu.extend(more.cpu);
        self.latency.extend(more.latency);
        self.per_second.extend(more.per_second);
        self.growth.extend(more.growth);
        self.idle_bytes = self.idle_bytes.max(more.idle_bytes);
        self.peak_of_one = self.peak_of_one.max(more.peak_of_one);
        self.peak_of_four = self.peak_of_four.max(more.peak_of_four);
    }
}

/// Measures `row` in every column.
///
/// How fast a wasm module is depends on what V8 happened to compile when, and stays so for the life of a process:
/// one process per column would measure that chance.
pub(crate) fn row(row: Row, plan: &Plan, setup: &Setup) -> Result<Measured> {
    if let Row::Idle(requests) = row {
        return standing_still(row, requests.min(plan.most_idle), plan, setup);
    }
    if let Row::Streams(what) = row {
        return streams::row(row, what, plan, setup);
    }
    let mut measured = in_new_processes(row, plan, setup)?;
    for _ in 1..plan.of(row).processes {
        let more = in_new_processes(row, plan, setup)?;
        for ((_, numbers), (_, more)) in measured.columns.iter_mut().zip(more.columns) {
            if let (Ok(numbers), Ok(more)) = (numbers, more) {
                numbers.add(more);
            }
        }
    }
    Ok(measured)
}

fn in_new_processes(row: Row, plan: &Plan, setup: &Setup) -> Result<Measured> {
    let mut stands = Vec::new();
    let mut unable = Vec::new();
    for column in Column::ALL {
        match Exchange::new(row, column, plan.side, plan.megabyte) {
            Ok(exchange) => {
                if let Some(why) = setup.misses(row, column) {
                    unable.push((column, Err(why)));
                    continue;
                }
                let stand = Stand::start(row, column, exchange, setup).map_err(|e| in_column(column, e))?;
                stands.push(stand);
            }
            Err(why) => unable.push((column, Err(why))),
        }
    }
    for stand in &mut stands {
        stand.warm_up(row, plan).map_err(|e| in_column(stand.column, e))?;
    }
    for round in 0..plan.rounds_per_process {
        // Another column begins each time, so that none always follows the same one.
        for turn in 0..stands.len() {
            let at = (round + turn) % stands.len();
            let stand = &mut stands[at];
            let measured = match row {
                row if row.is_at_once() => stand.round_at_once(plan.concurrent_round),
                _ => stand.round(plan.of(row).requests_per_round),
            };
            measured.map_err(|e| in_column(stand.column, e))?;
        }
    }
    let mut columns: Vec<_> = stands.into_iter().map(|stand| (stand.column, Ok(stand.numbers))).collect();
    columns.extend(unable);
    columns.sort_by_key(|(column, _)| Column::ALL.iter().position(|c| c == column));
    Ok(Measured { row, columns })
}

/// The memory that requests take which wait for their second half, column after column.
fn standing_still(row: Row, requests: u32, plan: &Plan, setup: &Setup) -> Result<Measured> {
    let column = |column| {
        let exchange = match Exchange::new(row, column, plan.side, plan.megabyte) {
            Ok(exchange) => exchange,
            Err(why) => return Ok((column, Err(why))),
        };
        let body = exchange.body.len();
        let mut stand = Stand::start(row, column, exchange, setup).map_err(|e| in_column(column, e))?;
        let measured = stand.stand_still(body, requests);
        measured.map_err(|e| in_column(column, e))?;
        Ok((column, Ok(stand.numbers)))
    };
    Ok(Measured { row, columns: Column::ALL.into_iter().map(column).collect::<Result<_>>()? })
}

pub(crate) fn in_column(column: Column, error: impl std::fmt::Display) -> String {
    format!("{}: {error}", column.name())
}

/// An Envoy with servers behind it and a client before it.
struct Stand {
    column: Column,
    /// The column whose protocols it speaks.
    speaks: Column,
    envoy: e2e::Envoy,
    client: Client,
    request: Prepared,
    reply: Reply,
    numbers: Numbers,
    _server: Upstream,
}

impl Stand {
    /// Starts everything, measures memory, and checks every answer while doing so.
    fn start(row: Row, column: Column, exchange: Exchange, setup: &Setup) -> Result<Self> {
        let tiny = Exchange::tiny(row, column);
        let speaks = row.speaks_as(column);
        let server = Upstream::start(speaks, &exchange.answer)?;
        let tiny_server = Upstream::start(speaks, &tiny.answer)?;
        let recorder = Recorder::start(speaks, &tiny.answer)?;
        let mut envoy = setup.start(
            row,
            column,
            &[
                ("measured", server.address()),
                ("tiny", tiny_server.address()),
                ("recorder", recorder.address()),
            ],
        )?;
        let address = envoy.address(LISTENER)?;
        let mut client = Client::open(speaks, address)?;
        let mut reply = Reply::default();

        client.exchange(&Prepared::new(speaks, &tiny, "tiny"), &mut reply)?;
        verify::answer(speaks, &tiny, &reply)?;
        settle(&mut envoy)?;
        let idle_bytes = envoy.process().memory()?.resident;

        let request = Prepared::new(speaks, &exchange, "measured");
        let peak_of_one = peak(&mut envoy, idle_bytes, || client.exchange(&request, &mut reply))?;
        verify::answer(speaks, &exchange, &reply)?;
        let answer_bytes = reply.body.len();
        let peak_of_four = peak(&mut envoy, idle_bytes, || all_at_once(speaks, address, &request))?;

        client.exchange(&Prepared::new(speaks, &exchange, "recorder"), &mut reply)?;
        verify::request(&exchange, &recorder)?;

        let request_bytes = exchange.body.len();
        let numbers = Numbers {
            request_bytes,
            answer_bytes,
            idle_bytes,
            peak_of_one,
            peak_of_four,
            ..Numbers::default()
        };
        Ok(Self { column, speaks, envoy, client, request, reply, numbers, _server: server })
    }

    fn warm_up(&mut self, row: Row, plan: &Plan) -> Result<()> {
        if row.is_at_once() {
            self.round_at_once(plan.concurrent_round)?;
        } else {
            self.round(plan.of(row).warm_up)?;
        }
        self.numbers.cpu.clear();
        self.numbers.latency.clear();
        self.numbers.per_second.clear();
        Ok(())
    }

    /// Requests one after the other.
    fn round(&mut self, requests: usize) -> Result<()> {
        let before = settle(&mut self.envoy)?;
        for _ in 0..requests {
            let start = Instant::now();
            self.client.exchange(&self.request, &mut self.reply)?;
            self.numbers.latency.push(start.elapsed());
        }
        self.count(before, requests)
    }

    /// Requests that stand still; their memory is the peak of one, as if all were one.
    fn stand_still(&mut self, body: usize, requests: u32) -> Result<()> {
        let address = self.envoy.address(LISTENER)?;
        settle(&mut self.envoy)?;
        let before = self.envoy.process().memory()?.resident;
        let standing = idle::send(&mut self.envoy, address, &self.request, body, requests)?;
        settle(&mut self.envoy)?;
        self.numbers.peak_of_one = self.envoy.process().memory()?.resident.saturating_sub(before);
        self.numbers.peak_of_four = 0;
        drop(standing);
        Ok(())
    }

    /// Requests on all connections, each sent when the one before is answered.
    fn round_at_once(&mut self, duration: Duration) -> Result<()> {
        let address = self.envoy.address(LISTENER)?;
        let (speaks, request) = (self.speaks, &self.request);
        let connect = |_| Client::open(speaks, address);
        let clients = (0..CONNECTIONS).map(connect).collect::<Result<Vec<_>>>()?;
        let before = settle(&mut self.envoy)?;
        let stop = AtomicBool::new(false);
        let start = Instant::now();
        let served = thread::scope(|scope| {
            let serve = |mut client: Client| {
                let stop = &stop;
                scope.spawn(move || -> Result<usize> {
                    let (mut served, mut reply) = (0, Reply::default());
                    while !stop.load(Ordering::Relaxed) {
                        client.exchange(request, &mut reply)?;
                        served += 1;
                    }
                    Ok(served)
                })
            };
            let threads: Vec<_> = clients.into_iter().map(serve).collect();
            thread::sleep(duration);
            stop.store(true, Ordering::Relaxed);
            sum(threads)
        })?;
        let elapsed = start.elapsed();
        let requests = served.max(1);
        self.numbers.latency.push(elapsed.mul_f64(CONNECTIONS as f64 / requests as f64));
        self.numbers.per_second.push(requests as f64 / elapsed.as_secs_f64());
        self.count(before, requests)
    }

    fn count(&mut self, before: Duration, requests: usize) -> Result<()> {
        let spent = settle(&mut self.envoy)?.saturating_sub(before);
        self.numbers.cpu.push(spent.div_f64(requests as f64));
        Ok(())
    }
}

/// One request on each of several new connections.
fn all_at_once(speaks: Column, address: std::net::SocketAddr, request: &Prepared) -> Result<()> {
    let connect = |_| Client::open(speaks, address);
    let clients = (0..AT_ONCE).map(connect).collect::<Result<Vec<_>>>()?;
    let begin = &Barrier::new(AT_ONCE);
    let served = thread::scope(|scope| {
        let serve = |mut client: Client| {
            scope.spawn(move || {
                begin.wait();
                client.exchange(request, &mut Reply::default()).map(|()| 1)
            })
        };
        sum(clients.into_iter().map(serve).collect())
    })?;
    if served == AT_ONCE { Ok(()) } else { Err("not every request was served".into()) }
}

fn sum(threads: Vec<thread::ScopedJoinHandle<'_, Result<usize>>>) -> Result<usize> {
    threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a client panicked".into()))).sum()
}

/// The most memory above `idle` that is resident during `work`.
fn peak(envoy: &mut e2e::Envoy, idle: u64, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    envoy.process().reset_peak()?;
    work()?;
    Ok(envoy.process().memory()?.peak.saturating_sub(idle))
}

/// Waits until Envoy has done what it still had to do after an answer, and returns its CPU time so far. The kernel
/// adds a running thread's time up only now and then, so this is also what makes the value exact.
pub(crate) fn settle(envoy: &mut e2e::Envoy) -> Result<Duration> {
    let mut before = envoy.process().cpu_time()?;
    for _ in 0..LOOKS {
        thread::sleep(QUIET);
        let now = envoy.process().cpu_time()?;
        if now == before {
            break;
        }
        before = now;
    }
    Ok(before)
}
