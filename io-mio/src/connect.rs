//! Opening connections: names are looked up on a thread of its own, sockets connect without waiting.

use crate::cpus;
use crate::listen;
use mio::Waker;
use mio::net::TcpStream;
use reprise_engine::ConnId;
use reprise_engine::config::Config;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// Who asked, whether it is to speak TLS, and what was found.
type Found = (ConnId, bool, io::Result<Vec<SocketAddr>>);

/// The poll loop's end of the resolver thread.
pub struct Resolver {
    questions: Sender<(ConnId, String, u16, bool)>,
    answers: Receiver<Found>,
    asked: HashSet<ConnId>,
}

impl Resolver {
    /// Starts the thread, on these CPUs. `waker` is woken when an answer is there.
    pub fn start(waker: Arc<Waker>, cpus: String) -> io::Result<Resolver> {
        let (questions, inbox) = channel::<(ConnId, String, u16, bool)>();
        let (outbox, answers) = channel();
        thread::Builder::new()
            .name("resolver".into())
            .spawn(move || {
                cpus::bind(&cpus);
                while let Ok((conn, host, port, tls)) = inbox.recv() {
                    let found = (host.as_str(), port)
                        .to_socket_addrs()
                        .map(Iterator::collect);
                    if outbox.send((conn, tls, found)).is_err() || waker.wake().is_err() {
                        return;
                    }
                }
            })?;
        Ok(Resolver {
            questions,
            answers,
            asked: HashSet::new(),
        })
    }

    /// Asks for a host's addresses; `tls` comes back with the answer.
    pub fn ask(&mut self, conn: ConnId, host: String, port: u16, tls: bool) {
        self.asked.insert(conn);
        self.questions
            .send((conn, host, port, tls))
            .expect("the resolver lives as long as its channel");
    }

    /// The answer is no longer wanted.
    pub fn forget(&mut self, conn: ConnId) {
        self.asked.remove(&conn);
    }

    /// The next answer that is still wanted, if one is there.
    pub fn answer(&mut self) -> Option<Found> {
        loop {
            let answer = self.answers.try_recv().ok()?;
            if self.asked.remove(&answer.0) {
                return Some(answer);
            }
        }
    }
}

/// Begins to connect to the first of `addresses` that does not fail at once. From `bind-source-addr`, if that
/// can be had; else from wherever the system likes, as Redis does.
pub fn begin(addresses: &[SocketAddr], config: &Config) -> io::Result<(TcpStream, SocketAddr)> {
    let mut failure = io::Error::from_raw_os_error(libc::EADDRNOTAVAIL);
    for address in addresses {
        match begin_one(*address, config) {
            Ok(stream) => return Ok((stream, *address)),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn begin_one(address: SocketAddr, config: &Config) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    listen::mark(&socket, config)?;
    if let Ok(source) = config.bind_source_addr.parse::<IpAddr>()
        && source.is_ipv4() == address.is_ipv4()
    {
        let _ = socket.bind(&SocketAddr::new(source, 0).into());
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let stream = TcpStream::from_std(socket.into());
    tune(&stream, config.tcp_keepalive);
    Ok(stream)
}

/// No delay for small writes; probes for dead peers. A socket that refuses is as good as one that has them.
pub fn tune(stream: &TcpStream, keepalive_s: u32) {
    let _ = stream.set_nodelay(true);
    if keepalive_s > 0 {
        let idle = u64::from(keepalive_s);
        let probes = TcpKeepalive::new()
            .with_time(Duration::from_secs(idle))
            .with_interval(Duration::from_secs((idle / 3).max(1)))
            .with_retries(3);
        let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&probes);
    }
}
