//! New connections, and the handshakes of those that speak TLS: of a connection that fails in its handshake the
//! engine never hears.

use super::{CONNS, Server};
use crate::connect;
use crate::conns::{Announce, Stream};
use crate::listen::Open;
use crate::log::words;
use crate::tls::TlsStream;
use reprise_engine::{Address, ConnId, Input, Listener, LogLevel, Now};
use std::io::{self, ErrorKind};

/// How long a client may take for its handshake, if `timeout` does not say less.
const HANDSHAKE_US: u64 = 60_000_000;
/// How long accepting rests when the process has no more files.
const ACCEPT_PAUSE_US: u64 = 100_000;

impl Server {
    /// How long a handshake may take.
    pub(super) fn handshake_limit_us(&self) -> u64 {
        match self.engine.config().timeout {
            0 => HANDSHAKE_US,
            timeout_s => HANDSHAKE_US.min(u64::from(timeout_s) * 1_000_000),
        }
    }

    /// Closes connections whose handshake takes too long. (Those that we open, the engine closes.)
    pub(super) fn end_slow_handshakes(&mut self, now: Now) {
        let limit = self.handshake_limit_us();
        while let Some(&(came_us, id)) = self.handshakes.front() {
            let found = self.conns.find(id);
            let found = found.map(|(_, conn)| (conn.announce.is_some(), conn.queued));
            let (shaking, heard) = found.unwrap_or_default();
            if shaking && now.mono_us < came_us + limit {
                return;
            }
            self.handshakes.pop_front();
            if shaking && heard {
                // It waits for us, not we for it.
                self.handshakes.push_back((now.mono_us, id));
            } else if shaking {
                self.lose(id, "TLS handshake timed out".into());
            }
        }
    }

    /// Goes on with a handshake. True once it is complete; the engine knows of the connection then.
    pub(super) fn shake_hands(&mut self, id: ConnId, now: Now) -> bool {
        let Some((_, conn)) = self.conns.find(id) else {
            return false;
        };
        let Stream::Tls(stream) = &mut conn.stream else {
            return false;
        };
        match stream.handshake(&mut self.cipher) {
            Ok(false) => return false,
            Ok(true) => {}
            Err(error) => {
                self.lose(id, words(&error));
                return false;
            }
        }
        match conn.announce.take().map(|announce| *announce) {
            Some(Announce::Accepted(input)) => {
                self.shaking -= 1;
                self.engine.handle(now, input);
            }
            Some(Announce::Connected(input)) => self.engine.handle(now, input),
            None => {}
        }
        true
    }

    pub(super) fn accept(&mut self, now: Now) {
        let mut left = self.engine.config().max_new_connections_per_cycle;
        for slot in 0..self.listeners.len() {
            while self.listeners[slot].as_ref().is_some_and(|l| l.ready) {
                if left == 0 || now.mono_us < self.accept_after_us {
                    return;
                }
                left -= 1;
                self.accept_one(slot, now);
            }
        }
    }

    fn accept_one(&mut self, slot: usize, now: Now) {
        let Some(listener) = &mut self.listeners[slot] else {
            return;
        };
        let kind = listener.kind;
        let secure =
            kind == Listener::Tls || kind == Listener::Bus && self.engine.config().tls_cluster;
        let keepalive = self.engine.config().tcp_keepalive;
        let accepted = match &listener.open {
            Open::Tcp(tcp) => tcp.accept().and_then(|(stream, peer)| {
                connect::tune(&stream, keepalive);
                let local = stream.local_addr()?;
                Ok((Stream::Tcp(stream), Address::Ip(local), Address::Ip(peer)))
            }),
            Open::Unix(unix) => unix.accept().map(|(stream, _)| {
                let path = Address::Unix(self.engine.config().unixsocket.clone());
                (Stream::Unix(stream), path.clone(), path)
            }),
        };
        let taken = accepted.and_then(|(stream, local, peer)| {
            let stream = match stream {
                Stream::Tcp(socket) if secure => self.secured(socket, kind == Listener::Bus)?,
                stream => Some(stream),
            };
            let Some(stream) = stream else {
                return Ok(None);
            };
            let conn = self.conns.accept(self.poll.registry(), CONNS, stream)?;
            Ok(Some(Input::Accepted {
                conn,
                listener: kind,
                peer,
                local,
            }))
        });
        let Some(listener) = &mut self.listeners[slot] else {
            return;
        };
        match taken {
            Ok(None) => {}
            Ok(Some(input)) if secure => self.begin_handshake(input, now),
            Ok(Some(input)) => self.engine.handle(now, input),
            Err(error) if error.kind() == ErrorKind::WouldBlock => listener.ready = false,
            Err(error) => {
                self.log.warning(&format!(
                    "Accepting client connection: accept: {}",
                    words(&error)
                ));
                let exhausted = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
                if error
                    .raw_os_error()
                    .is_some_and(|code| exhausted.contains(&code))
                {
                    // The connection stays in the backlog, and no event will tell of it again.
                    self.accept_after_us = now.mono_us + ACCEPT_PAUSE_US;
                }
            }
        }
    }

    /// A socket with a session, unless there are too many in a handshake already.
    fn secured(&self, socket: mio::net::TcpStream, bus: bool) -> io::Result<Option<Stream>> {
        let most = self.engine.config().maxclients as usize;
        let Some(tls) = self.tls.as_ref().filter(|_| self.shaking < most) else {
            return Ok(None);
        };
        let session = tls.accept(bus).map_err(io::Error::other)?;
        Ok(Some(Stream::Tls(Box::new(TlsStream::new(socket, session)))))
    }

    /// An accepted connection, of which the engine learns after its handshake.
    fn begin_handshake(&mut self, input: Input, now: Now) {
        let Input::Accepted { conn: id, .. } = input else {
            return;
        };
        if let Some((_, conn)) = self.conns.find(id) {
            conn.announce = Some(Box::new(Announce::Accepted(input)));
            self.shaking += 1;
            self.handshakes.push_back((now.mono_us, id));
        }
    }

    pub(super) fn log_failed_handshake(&self, input: &Input, reason: &str) {
        let Input::Accepted {
            listener,
            peer: Address::Ip(peer),
            local: Address::Ip(local),
            ..
        } = input
        else {
            return;
        };
        let (level, what) = match listener {
            Listener::Bus => (LogLevel::Verbose, "Error accepting cluster node connection"),
            _ => (LogLevel::Warning, "Error accepting a client connection"),
        };
        self.log.line(
            level,
            &format!("{what}: {reason} (addr={peer} laddr={local})"),
        );
    }
}
