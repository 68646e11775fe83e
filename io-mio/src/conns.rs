//! The table of connections: slots, which are mio tokens and the engine's indexes too.

use crate::tls::TlsStream;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use reprise_engine::{Address, ConnId, Input};
use std::collections::HashMap;
use std::io::{self, IoSlice, Read, Write};

/// A connection's socket.
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// TCP that speaks TLS.
    Tls(Box<TlsStream>),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Stream {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => stream.socket_mut(),
            Stream::Unix(stream) => stream,
        }
    }

    /// Interest from the start on. A TCP socket tells that it is writable only after it was not, so
    /// asking costs nothing and spares a system call later. A Unix socket tells it whenever the peer
    /// has read something: there, asking waits until a write was short.
    fn first_interest(&self) -> Interest {
        match self {
            Stream::Tcp(_) | Stream::Tls(_) => Interest::READABLE | Interest::WRITABLE,
            Stream::Unix(_) => Interest::READABLE,
        }
    }

    /// Reads what is there. `scratch` is for cipher text on its way.
    pub fn read(&mut self, buffer: &mut [u8], scratch: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer, scratch),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }

    /// Whether there may be more to read though the last read was short.
    pub fn has_more(&self) -> bool {
        match self {
            Stream::Tls(stream) => stream.has_more(),
            _ => false,
        }
    }

    /// Writes as much as fits of `slices`, which hold `offered` bytes. Says how many it took, and whether
    /// the socket takes no more now.
    pub fn write(&mut self, slices: &[IoSlice<'_>], offered: usize) -> io::Result<(usize, bool)> {
        let taken = match (self, slices) {
            (Stream::Tcp(stream), [one]) => stream.write(one)?,
            (Stream::Tcp(stream), _) => stream.write_vectored(slices)?,
            (Stream::Tls(stream), _) => return stream.write(slices),
            (Stream::Unix(stream), [one]) => stream.write(one)?,
            (Stream::Unix(stream), _) => stream.write_vectored(slices)?,
        };
        Ok((taken, taken < offered))
    }

    /// Sends what was taken by earlier writes and waits; true if nothing is left of it.
    pub fn flush(&mut self) -> io::Result<bool> {
        match self {
            Stream::Tls(stream) => stream.flush(),
            _ => Ok(true),
        }
    }

    /// Our address and the peer's, once it is connected.
    pub fn addresses(&self) -> io::Result<(Address, Address)> {
        let socket = match self {
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => stream.socket(),
            Stream::Unix(_) => {
                return Ok((Address::Unix(String::new()), Address::Unix(String::new())));
            }
        };
        Ok((
            Address::Ip(socket.local_addr()?),
            Address::Ip(socket.peer_addr()?),
        ))
    }

    /// Small writes may wait to be sent together.
    pub fn delay(&self) {
        // A socket that refuses is as good as one that does.
        let _ = match self {
            Stream::Tcp(stream) => stream.set_nodelay(false),
            Stream::Tls(stream) => stream.socket().set_nodelay(false),
            Stream::Unix(_) => Ok(()),
        };
    }

    /// The error that broke it, if any.
    pub fn error(&self) -> Option<io::Error> {
        match self {
            Stream::Tcp(stream) => stream.take_error(),
            Stream::Tls(stream) => stream.socket().take_error(),
            Stream::Unix(stream) => stream.take_error(),
        }
        .unwrap_or_else(Some)
    }
}

/// One connection.
pub struct Conn {
    /// The engine's name for it.
    pub id: ConnId,
    /// Its socket.
    pub stream: Stream,
    /// We opened it, and it is not open yet.
    pub connecting: bool,
    /// In a handshake: what the engine is told once that is complete. Until then it does not know of an
    /// accepted connection.
    pub announce: Option<Box<Announce>>,
    /// It stands in the list of sockets to be read.
    pub queued: bool,
    /// The peer has ended its side, or the socket broke: read on until the socket says so.
    pub ending: bool,
    /// The last write was short: wait until it is writable.
    pub blocked: bool,
}

/// What becomes of a connection when its handshake ends.
pub enum Announce {
    /// The engine learns of it, so.
    Accepted(Input),
    /// The engine, which asked for it, learns that it is open.
    Connected(Input),
}

#[derive(Default)]
struct Slot {
    serial: u32,
    conn: Option<Conn>,
}

/// All connections.
#[derive(Default)]
pub struct Conns {
    slots: Vec<Slot>,
    free: Vec<u32>,
    outgoing: HashMap<ConnId, u32>,
}

impl Conns {
    /// Takes in an accepted connection. `base` is the token of slot 0.
    pub fn accept(
        &mut self,
        registry: &Registry,
        base: usize,
        stream: Stream,
    ) -> io::Result<ConnId> {
        let index = self.vacant();
        let id = ConnId::accepted(index, self.slots[index as usize].serial);
        self.fill(registry, base, index, id, stream, false)?;
        Ok(id)
    }

    /// Takes in a connection that is being opened.
    pub fn connect(
        &mut self,
        registry: &Registry,
        base: usize,
        id: ConnId,
        stream: Stream,
    ) -> io::Result<()> {
        let index = self.vacant();
        self.fill(registry, base, index, id, stream, true)?;
        self.outgoing.insert(id, index);
        Ok(())
    }

    fn vacant(&mut self) -> u32 {
        match self.free.last() {
            Some(index) => *index,
            None => {
                let index = self.slots.len() as u32;
                self.slots.push(Slot::default());
                self.free.push(index);
                index
            }
        }
    }

    fn fill(
        &mut self,
        registry: &Registry,
        base: usize,
        index: u32,
        id: ConnId,
        mut stream: Stream,
        connecting: bool,
    ) -> io::Result<()> {
        let interest = stream.first_interest();
        registry.register(stream.source(), Token(base + index as usize), interest)?;
        self.free.pop();
        self.slots[index as usize].conn = Some(Conn {
            id,
            stream,
            connecting,
            announce: None,
            queued: false,
            ending: false,
            blocked: false,
        });
        Ok(())
    }

    /// The connection in a slot.
    pub fn at(&mut self, index: usize) -> Option<&mut Conn> {
        self.slots.get_mut(index)?.conn.as_mut()
    }

    /// The connection of a name, with its slot.
    pub fn find(&mut self, id: ConnId) -> Option<(usize, &mut Conn)> {
        let index = if id.is_outgoing() {
            *self.outgoing.get(&id)? as usize
        } else {
            id.index()
        };
        let conn = self.slots.get_mut(index)?.conn.as_mut()?;
        (conn.id == id).then_some((index, conn))
    }

    /// Closes a connection. Dropping the socket takes it off the poll.
    pub fn close(&mut self, id: ConnId) -> bool {
        let Some((index, _)) = self.find(id) else {
            return false;
        };
        let slot = &mut self.slots[index];
        slot.conn = None;
        // Names have 31 bits for it.
        slot.serial = slot.serial.wrapping_add(1) & (u32::MAX >> 1);
        self.free.push(index as u32);
        if id.is_outgoing() {
            self.outgoing.remove(&id);
        }
        true
    }

    /// Asks to be told when a Unix socket is writable, or no longer. TCP sockets always tell.
    pub fn watch_writable(
        &mut self,
        registry: &Registry,
        base: usize,
        index: usize,
        on: bool,
    ) -> io::Result<()> {
        let Some(conn) = self.at(index) else {
            return Ok(());
        };
        if !matches!(conn.stream, Stream::Unix(_)) {
            return Ok(());
        }
        let interest = if on {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        registry.reregister(conn.stream.source(), Token(base + index), interest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        let (ours, _) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        Stream::Unix(UnixStream::from_std(ours))
    }

    #[test]
    fn names_are_never_given_twice() {
        let poll = mio::Poll::new().unwrap();
        let mut conns = Conns::default();
        let first = conns.accept(poll.registry(), 10, stream()).unwrap();
        let other = conns.accept(poll.registry(), 10, stream()).unwrap();
        assert_eq!((first.index(), other.index()), (0, 1));
        assert!(conns.close(first));
        assert!(!conns.close(first));
        let second = conns.accept(poll.registry(), 10, stream()).unwrap();
        assert_eq!(second.index(), 0);
        assert_ne!(first, second);
        assert!(conns.find(first).is_none() && conns.find(second).is_some());
        let out = ConnId::outgoing(0);
        conns.connect(poll.registry(), 10, out, stream()).unwrap();
        assert_eq!(
            conns
                .find(out)
                .map(|(index, conn)| (index, conn.connecting)),
            Some((2, true))
        );
        assert!(conns.close(out) && conns.find(out).is_none());
    }
}
