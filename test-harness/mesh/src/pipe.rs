//! Connections taken at one address and carried to another.
//!
//! What a node's network does to the packets of pods happens here to connections: one to a Service's virtual address is
//! carried on to where the Service leads. Sockets in the file system lead out of the network namespace and in.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::https::listen;
use crate::task::{Alive, Task};

/// How long a connection to the far end may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait when a connection could not be accepted, for lack of file descriptors for example.
const PAUSE: Duration = Duration::from_millis(20);

/// One end of a pipe.
#[derive(Clone, Debug)]
pub enum End {
    /// A TCP port, at the near end 0 for any free one. A gateway may have the same port on all addresses.
    Tcp(SocketAddr),
    /// A socket in the file system, which programs in other network namespaces reach as well.
    Unix(PathBuf),
}

/// A listener whose connections are carried elsewhere, byte for byte. It ends, and they do, when dropped.
pub struct Pipe {
    address: Option<SocketAddr>,
    _task: Task,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What bytes come from and go to.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Pipe {
    /// Listens at `near`. `far` is not looked for before there is a connection; one that finds nothing there is closed.
    ///
    /// # Errors
    /// If `near` cannot be bound.
    pub fn open(runtime: &Handle, near: End, far: End) -> Result<Self> {
        let (listener, address) = {
            let _context = runtime.enter();
            bind(&near).with_context(|| format!("listen on {near:?}"))?
        };
        let task = Task::spawn(runtime, |alive| accept(listener, far, alive));
        Ok(Self { address, _task: task })
    }

    /// Where it listens; `None` if that is a path.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

fn bind(near: &End) -> io::Result<(Listener, Option<SocketAddr>)> {
    Ok(match near {
        End::Tcp(address) => {
            let listener = TcpListener::from_std(listen(*address)?.into())?;
            let address = listener.local_addr()?;
            (Listener::Tcp(listener), Some(address))
        }
        End::Unix(path) => (Listener::Unix(UnixListener::bind(path)?), None),
    })
}

async fn accept(listener: Listener, far: End, alive: Alive) {
    // Dropped with this future, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(client) = listener.next().await else {
            sleep(PAUSE).await;
            continue;
        };
        let far = far.clone();
        connections.spawn(alive.clone().hold(async move {
            // Whichever end fails, the other one sees its connection closed.
            let _ = carry(client, far).await;
        }));
    }
}

impl Listener {
    async fn next(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(without_delay(listener.accept().await?.0)),
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

async fn carry(mut client: Box<dyn Stream>, far: End) -> io::Result<()> {
    let mut server = timeout(PATIENCE, connect(far)).await??;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

async fn connect(far: End) -> io::Result<Box<dyn Stream>> {
    Ok(match far {
        End::Tcp(address) => Box::new(without_delay(TcpStream::connect(address).await?)),
        End::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}

/// What comes is sent at once. Where that is refused, the connection has gone, which shows later.
fn without_delay(stream: TcpStream) -> TcpStream {
    let _ = stream.set_nodelay(true);
    stream
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::thread;

    use tokio::runtime::Runtime;

    use super::*;

    #[test]
    fn bytes_and_their_end_get_through_a_path_both_ways() {
        let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
        let path = directory.path().join("socket");
        let _inner = Pipe::open(runtime.handle(), End::Unix(path.clone()), End::Tcp(shouting())).unwrap();
        let outer = Pipe::open(runtime.handle(), End::Tcp(any()), End::Unix(path)).unwrap();
        let long = "hello ".repeat(100_000);
        assert_eq!(ask(outer.address().unwrap(), &long), long.to_uppercase());
    }

    #[test]
    fn a_pipe_to_nowhere_closes_and_a_dropped_one_frees_its_port() {
        let runtime = runtime();
        let nowhere = TcpListener::bind(any()).unwrap().local_addr().unwrap();
        let pipe = Pipe::open(runtime.handle(), End::Tcp(any()), End::Tcp(nowhere)).unwrap();
        let address = pipe.address().unwrap();
        assert_eq!(ask(address, ""), "");
        drop(pipe);
        assert!(TcpStream::connect(address).is_err());
    }

    /// Sends everything back in upper case once the client has finished.
    fn shouting() -> SocketAddr {
        let listener = TcpListener::bind(any()).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut all = String::new();
                stream.read_to_string(&mut all).unwrap();
                stream.write_all(all.to_uppercase().as_bytes()).unwrap();
            }
        });
        address
    }

    fn runtime() -> Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    fn any() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    fn ask(address: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}
