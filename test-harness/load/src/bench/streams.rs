//! Answers that are streams of events: how soon the first one is there, what Envoy keeps for each stream, and what a long
//! one leaves behind.

use std::time::{Duration, Instant};

use e2e::h2c::{Connection, Event, Stream};
use odd_server::fast::{Fast, FastServer};
use odd_server::wire;
use odd_server::{Gate, Script, Step};

use crate::Result;
use crate::bootstrap::{CLUSTER_HEADER, LISTENER, Setup};
use crate::column::Column;
use crate::descriptors::{STREAM_PATH, STREAM_RPC};
use crate::measure::{Measured, Numbers, in_column, settle};
use crate::plan::Plan;
use crate::row::Row;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How many streams run on each connection at once.
const ON_EACH: usize = 100;
/// The cluster that answers.
const CLUSTER: &str = "measured";
/// What the model server says in each message.
const TEXT: &str = "token";

/// What is measured of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streams {
    /// The time until the first event is there, one stream after the other.
    First,
    /// The memory of so many of them at once.
    AtOnce(u32),
    /// What a stream of so many events leaves behind.
    Long(u32),
}

impl Streams {
    /// The extent of a run: in a smoke run both are less.
    fn of(self, plan: &Plan) -> Self {
        match self {
            Self::First => Self::First,
            Self::AtOnce(streams) => Self::AtOnce(streams.min(plan.most_idle)),
            Self::Long(events) => Self::Long(events.min(plan.most_events)),
        }
    }
}

/// Measures streams in every column that has them.
pub(crate) fn row(row: Row, what: Streams, plan: &Plan, setup: &Setup) -> Result<Measured> {
    let what = what.of(plan);
    let mut columns: Vec<(Column, std::result::Result<Numbers, &'static str>)> =
        vec![(Column::Passthrough, Err("there is no gRPC in it; grpc is what passes streams on"))];
    for _ in 0..plan.processes {
        for (column, numbers) in in_new_processes(row, what, plan, setup)? {
            match columns.iter_mut().find(|(known, _)| *known == column) {
                Some((_, Ok(known))) => known.add(numbers),
                _ => columns.push((column, Ok(numbers))),
            }
        }
    }
    Ok(Measured { row, columns })
}

fn in_new_processes(row: Row, what: Streams, plan: &Plan, setup: &Setup) -> Result<Vec<(Column, Numbers)>> {
    let able = [Column::Stock, Column::Wasm, Column::Native, Column::Grpc];
    let mut stands = Vec::new();
    for column in able {
        stands.push(Stand::start(row, what, column, setup).map_err(|e| in_column(column, e))?);
    }
    for stand in &mut stands {
        stand.warm_up(what, plan).map_err(|e| in_column(stand.column, e))?;
    }
    for round in 0..plan.rounds_per_process {
        for turn in 0..stands.len() {
            let at = (round + turn) % stands.len();
            let stand = &mut stands[at];
            stand.round(what, plan).map_err(|e| in_column(stand.column, e))?;
        }
    }
    Ok(stands.into_iter().map(|stand| (stand.column, stand.numbers)).collect())
}

/// An Envoy, the server behind it, and what its client sends and gets.
struct Stand {
    column: Column,
    envoy: e2e::Envoy,
    /// Lets a stream end.
    gate: Gate,
    request: e2e::Request,
    body: Vec<u8>,
    event: Vec<u8>,
    numbers: Numbers,
    _server: FastServer,
}

impl Stand {
    fn start(row: Row, what: Streams, column: Column, setup: &Setup) -> Result<Self> {
        let (gate, message) = (Gate::new(), wire::Message::new().bytes(1, TEXT).into_bytes());
        let answer = Script::after_request().grpc_headers();
        let framed = wire::frame(&message);
        let answer = match what {
            Streams::First | Streams::AtOnce(_) => answer.data(framed.clone()).wait(&gate),
            Streams::Long(events) => {
                answer.then(Step::Repeat { bytes: framed.clone(), times: events as usize })
            }
        };
        let server = FastServer::start(Fast::Constant(answer.grpc_trailers(0, "")))?;
        let envoy = setup.start(row, column, &[(CLUSTER, server.address())])?;
        let json = format!("{{\"name\":\"{TEXT}\"}}");
        let (request, body, event) = match column {
            Column::Grpc => (e2e::Request::grpc(STREAM_RPC, &message), framed.clone(), framed),
            _ => (
                e2e::Request::post(STREAM_PATH, json.as_bytes()),
                json.clone().into_bytes(),
                json.into_bytes(),
            ),
        };
        let event = if column == Column::Grpc { event } else { [&event[..], b"\n"].concat() };
        let request = request.header(CLUSTER_HEADER, CLUSTER).patience(PATIENCE);
        let numbers = Numbers { request_bytes: body.len(), answer_bytes: event.len(), ..Numbers::default() };
        Ok(Self { column, envoy, gate, request, body, event, numbers, _server: server })
    }

    fn round(&mut self, what: Streams, plan: &Plan) -> Result<()> {
        match what {
            Streams::First => self.firsts(plan.streams_per_round),
            Streams::AtOnce(streams) => self.at_once(streams as usize),
            Streams::Long(events) => self.long(events as usize),
        }
    }

    /// What is made once is made. Many streams at once are not tried before: their memory would be there already.
    fn warm_up(&mut self, what: Streams, plan: &Plan) -> Result<()> {
        match what {
            Streams::First | Streams::AtOnce(_) => self.firsts(plan.streams_per_round)?,
            Streams::Long(events) => self.long(events as usize)?,
        }
        let numbers = &mut self.numbers;
        (numbers.cpu, numbers.latency, numbers.growth) = (Vec::new(), Vec::new(), Vec::new());
        Ok(())
    }

    /// Streams one after the other, each of one event, behind which its end waits until the event is here.
    fn firsts(&mut self, streams: usize) -> Result<()> {
        let connection = self.connect()?;
        let before = settle(&mut self.envoy)?;
        for _ in 0..streams {
            let start = Instant::now();
            let mut stream = self.begin(&connection)?;
            self.read(&mut stream, 1)?;
            self.numbers.latency.push(start.elapsed());
            self.gate.open();
            self.end(&mut stream)?;
        }
        self.count(before, streams)
    }

    /// Streams that all have had their first event: the memory that they take.
    fn at_once(&mut self, streams: usize) -> Result<()> {
        let connections =
            (0..streams.div_ceil(ON_EACH)).map(|_| self.connect()).collect::<Result<Vec<_>>>()?;
        let before = settle(&mut self.envoy)?;
        let idle = self.envoy.process().memory()?.resident;
        let mut open = Vec::with_capacity(streams);
        for index in 0..streams {
            open.push(self.begin(&connections[index / ON_EACH])?);
        }
        for stream in &mut open {
            self.read(stream, 1)?;
        }
        settle(&mut self.envoy)?;
        let taken = self.envoy.process().memory()?.resident.saturating_sub(idle);
        // What the first ones take is free for those of later rounds.
        self.numbers.peak_of_one = self.numbers.peak_of_one.max(taken);
        for _ in 0..streams {
            self.gate.open();
        }
        for stream in &mut open {
            self.end(stream)?;
        }
        self.count(before, streams)
    }

    /// A stream of so many events: the memory that is there after it and was not before.
    fn long(&mut self, events: usize) -> Result<()> {
        let connection = self.connect()?;
        let before = settle(&mut self.envoy)?;
        let resident = self.envoy.process().memory()?.resident;
        let start = Instant::now();
        let mut stream = self.begin(&connection)?;
        self.read(&mut stream, events)?;
        self.end(&mut stream)?;
        self.numbers.latency.push(start.elapsed().div_f64(events as f64));
        self.count(before, events)?;
        let growth = self.envoy.process().memory()?.resident.saturating_sub(resident);
        self.numbers.growth.push(growth);
        Ok(())
    }

    fn connect(&self) -> Result<Connection> {
        Ok(Connection::open(self.envoy.address(LISTENER)?, PATIENCE)?)
    }

    fn begin<'c>(&self, connection: &'c Connection) -> Result<Stream<'c>> {
        let mut stream = connection.begin(&self.request, false)?;
        stream.data(&self.body, true)?;
        Ok(stream)
    }

    /// Reads so many events, and checks each byte of them.
    fn read(&self, stream: &mut Stream<'_>, events: usize) -> Result<()> {
        let (mut at, mut left) = (0, events * self.event.len());
        while left > 0 {
            let Event::Data(data) = stream.event() else { return Err("a stream ended early".into()) };
            let expected = self.event.iter().cycle().skip(at);
            if data.len() > left || !data.iter().eq(expected.take(data.len())) {
                let text = String::from_utf8_lossy(&data[..data.len().min(200)]).into_owned();
                return Err(format!("not the events that were sent: {text:?}").into());
            }
            (at, left) = ((at + data.len()) % self.event.len(), left - data.len());
        }
        Ok(())
    }

    /// Nothing but a good end follows.
    fn end(&self, stream: &mut Stream<'_>) -> Result<()> {
        loop {
            match stream.event() {
                Event::Data(data) if data.is_empty() => {}
                Event::End(_) => return Ok(()),
                other => return Err(format!("not the end of a stream: {other:?}").into()),
            }
        }
    }

    fn count(&mut self, before: Duration, units: usize) -> Result<()> {
        let spent = settle(&mut self.envoy)?.saturating_sub(before);
        self.numbers.cpu.push(spent.div_f64(units as f64));
        Ok(())
    }
}
