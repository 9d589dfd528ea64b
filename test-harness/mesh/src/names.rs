//! A DNS server over UDP that answers with what the mesh's Services are at the moment (RFC 1035).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::task::{JoinSet, spawn_blocking};

use crate::task::{Alive, Task};

/// How long an answer may be kept, in seconds: pods come and go while requests run.
const TTL: u32 = 1;
/// The largest message that a client takes unless it says otherwise (RFC 1035, 4.2.1), in bytes.
const PLAIN: u16 = 512;
/// The largest message at all, in bytes.
const LARGEST: u16 = 4096;

/// A DNS server. It ends when dropped, and its port is free then.
///
/// It serves addresses only and forwards nothing: a name that `lookup` has no answer for does not exist.
pub struct Names {
    address: SocketAddr,
    _task: Task,
}

impl Names {
    /// Serves on an address, port 0 for any free one. `lookup` gets a name in lower case without its final dot. `None`:
    /// there is no such name; no addresses: there is, but it has none. It may block.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn start(
        runtime: &Handle,
        address: SocketAddr,
        lookup: impl Fn(&str) -> Option<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Result<Self> {
        let listen = || {
            let socket = std::net::UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            let _context = runtime.enter();
            UdpSocket::from_std(socket)
        };
        let socket = listen().with_context(|| format!("answer DNS queries on {address}"))?;
        let address = socket.local_addr().context("read the address of a socket")?;
        let task = Task::spawn(runtime, |alive| serve(Arc::new(socket), Arc::new(lookup), alive));
        Ok(Self { address, _task: task })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

type Lookup = dyn Fn(&str) -> Option<Vec<IpAddr>> + Send + Sync;

async fn serve(socket: Arc<UdpSocket>, lookup: Arc<Lookup>, alive: Alive) {
    // Dropped with this future, and with it what still uses the socket.
    let mut queries = JoinSet::new();
    let mut buffer = [0; LARGEST as usize];
    loop {
        while queries.try_join_next().is_some() {}
        // An error is an earlier answer's: its client had gone.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(query) = parse(&buffer[..length]) else { continue };
        let (socket, lookup) = (Arc::clone(&socket), Arc::clone(&lookup));
        queries.spawn(alive.clone().hold(async move {
            let failed = reply(&query, &|_| Err(ResponseCode::ServFail));
            let answered =
                spawn_blocking(move || reply(&query, &|name| lookup(name).ok_or(ResponseCode::NXDomain)));
            if let Some(bytes) = answered.await.unwrap_or(failed) {
                // A client that cannot be reached asks again, or has gone.
                let _ = socket.send_to(&bytes, client).await;
            }
        }));
    }
}

/// A query, if a packet is one: two servers that took each other's answers for queries would never end.
fn parse(packet: &[u8]) -> Option<Message> {
    Message::from_vec(packet).ok().filter(|message| message.metadata.message_type == MessageType::Query)
}

fn reply(query: &Message, lookup: &dyn Fn(&str) -> Result<Vec<IpAddr>, ResponseCode>) -> Option<Vec<u8>> {
    let asked = &query.metadata;
    let mut reply = Message::response(asked.id, asked.op_code);
    reply.metadata.recursion_desired = asked.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.authoritative = true;
    reply.queries.clone_from(&query.queries);
    // Who asks by EDNS gets it back (RFC 6891, 6.1.1).
    reply.edns = query.edns.as_ref().map(|_| {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST);
        edns
    });
    match answers(query, lookup) {
        Ok(answers) => reply.answers = answers,
        Err(code) => reply.metadata.response_code = code,
    }
    let most = usize::from(query.edns.as_ref().map_or(PLAIN, Edns::max_payload).clamp(PLAIN, LARGEST));
    loop {
        let bytes = reply.to_vec().ok()?;
        // There is no TCP to ask again by, so fewer addresses are better than a truncated message.
        if bytes.len() <= most || reply.answers.pop().is_none() {
            return Some(bytes);
        }
    }
}

fn answers(
    query: &Message,
    lookup: &dyn Fn(&str) -> Result<Vec<IpAddr>, ResponseCode>,
) -> Result<Vec<Record>, ResponseCode> {
    if query.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    let [Query { name, query_type, query_class, .. }] = &query.queries[..] else {
        return Err(ResponseCode::FormErr);
    };
    if *query_class != DNSClass::IN {
        return Err(ResponseCode::Refused);
    }
    let text = name.to_ascii().to_ascii_lowercase();
    let addresses = lookup(text.strip_suffix('.').unwrap_or(&text))?;
    let record = |address| match (address, query_type) {
        (IpAddr::V4(address), RecordType::A) => Some(RData::A(address.into())),
        (IpAddr::V6(address), RecordType::AAAA) => Some(RData::AAAA(address.into())),
        _ => None,
    };
    let datas = addresses.into_iter().filter_map(record);
    Ok(datas.map(|data| Record::from_rdata(name.clone(), TTL, data)).collect())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
    use std::time::Duration;

    use tokio::runtime::Runtime;

    use super::*;

    const A: u16 = 1;
    const TXT: u16 = 16;
    const AAAA: u16 = 28;

    struct Site {
        names: Names,
        client: UdpSocket,
        _runtime: Runtime,
    }

    impl Site {
        fn start() -> Self {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let lookup = |name: &str| match name {
                "triton.models.svc.cluster.local" => Some(vec![IpAddr::from([10, 96, 0, 7])]),
                "both.example" => {
                    Some(vec![IpAddr::from([10, 244, 0, 1]), IpAddr::from(Ipv6Addr::LOCALHOST)])
                }
                "empty.example" => Some(vec![]),
                "many.example" => {
                    Some((0..100).map(|n| IpAddr::from(Ipv4Addr::new(10, 244, 1, n))).collect())
                }
                "broken.example" => panic!("a lookup that fails"),
                _ => None,
            };
            let names = Names::start(runtime.handle(), ([127, 0, 0, 1], 0).into(), lookup).unwrap();
            let client = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
            client.connect(names.address()).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            Self { names, client, _runtime: runtime }
        }

        fn ask(&self, packet: &[u8]) -> Vec<u8> {
            self.client.send(packet).unwrap();
            let mut buffer = [0; 8192];
            let length = self.client.recv(&mut buffer).unwrap();
            buffer[..length].to_vec()
        }

        /// The code of the answer and how many records it has.
        fn outcome(&self, name: &str, kind: u16) -> (u8, u8) {
            let bytes = self.ask(&query(name, kind, &[]));
            (bytes[3] & 15, bytes[7])
        }
    }

    fn question(name: &str, kind: u16) -> Vec<u8> {
        let labels = name
            .split('.')
            .flat_map(|label| std::iter::once(u8::try_from(label.len()).unwrap()).chain(label.bytes()));
        labels.chain([0]).chain(kind.to_be_bytes()).chain([0, 1]).collect()
    }

    fn query(name: &str, kind: u16, additional: &[u8]) -> Vec<u8> {
        // Identifier, flags (recursion desired), one question, no answers, no authorities.
        let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!additional.is_empty())];
        bytes.extend(question(name, kind));
        bytes.extend(additional);
        bytes
    }

    #[test]
    fn a_query_for_a_known_name_gets_these_very_bytes() {
        let site = Site::start();
        // Clients mix cases to tell forged answers; the question comes back as it was.
        let name = "Triton.models.svc.cluster.LOCAL";
        let mut expected = vec![0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        expected.extend(question(name, A));
        // The name at offset 12, type A, class IN, one second, four bytes.
        expected.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 10, 96, 0, 7]);
        assert_eq!(site.ask(&query(name, A, &[])), expected);
    }

    #[test]
    fn a_name_that_exists_has_no_records_of_other_kinds_and_one_that_does_not_is_an_error() {
        let site = Site::start();
        assert_eq!(site.outcome("triton.models.svc.cluster.local", AAAA), (0, 0));
        assert_eq!(site.outcome("triton.models.svc.cluster.local", TXT), (0, 0));
        assert_eq!(site.outcome("empty.example", A), (0, 0));
        assert_eq!(site.outcome("both.example", A), (0, 1));
        assert_eq!(site.outcome("both.example", AAAA), (0, 1));
        assert_eq!(site.outcome("unknown.example", A), (3, 0));
        assert_eq!(site.outcome("unknown.example", AAAA), (3, 0));
    }

    #[test]
    fn a_lookup_that_panics_is_a_server_failure_and_the_next_query_is_answered() {
        let site = Site::start();
        assert_eq!(site.outcome("broken.example", A), (2, 0));
        assert_eq!(site.outcome("both.example", A), (0, 1));
    }

    #[test]
    fn edns_is_answered_and_addresses_that_do_not_fit_are_left_out() {
        let site = Site::start();
        let plain = site.ask(&query("many.example", A, &[]));
        assert!(plain.len() <= 512 && plain[7] > 20, "{} bytes, {} records", plain.len(), plain[7]);
        assert_eq!(plain[2] & 2, 0, "truncated");
        // The root, type OPT, 4096 bytes, no flags, no options.
        let edns = [0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0];
        let large = site.ask(&query("many.example", A, &edns));
        assert_eq!((large[7], large[11]), (100, 1));
        assert_eq!(large[large.len() - 11..], edns);
    }

    #[test]
    fn what_is_malformed_or_an_answer_is_ignored_and_what_is_unsupported_is_refused() {
        let site = Site::start();
        let good = query("both.example", A, &[]);
        for bad in [&b""[..], b"\x00", &good[..good.len() - 1], &[0xff; 64]] {
            site.client.send(bad).unwrap();
        }
        let mut answer = good.clone();
        answer[2] |= 0x80;
        site.client.send(&answer).unwrap();
        // The next thing heard is the answer to the next query.
        let mut next = good.clone();
        next[0] = 0x55;
        assert_eq!(site.ask(&next)[..2], [0x55, 0x34]);

        let code = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut packet = good.clone();
            change(&mut packet);
            site.ask(&packet)[3] & 15
        };
        assert_eq!(code(&|packet| packet[2] |= 2 << 3), 4, "a server status request");
        assert_eq!(code(&|packet| *packet.last_mut().unwrap() = 3), 5, "class CH");
        assert_eq!(
            code(&|packet| {
                packet.truncate(12);
                packet[5] = 0;
            }),
            1,
            "no question"
        );
    }

    #[test]
    fn a_dropped_server_leaves_its_port() {
        let site = Site::start();
        site.outcome("both.example", A);
        let address = site.names.address();
        drop(site.names);
        UdpSocket::bind(address).unwrap();
    }
}
