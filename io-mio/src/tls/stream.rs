//! A socket that speaks TLS, without ever waiting.
//!
//! Cipher text is read into a buffer that the caller lends, at most its length at a time; what does not
//! fit into the caller's room as plain text stays here until the next read. Plain text to be sent is
//! taken up to rustls's limit (64 kB) and encrypted at once; what the socket does not take of it is kept,
//! and nothing more is taken until it has gone. So a connection holds a bounded number of bytes.

use mio::net::TcpStream;
use rustls::Connection;
use std::io::{self, ErrorKind, IoSlice, Read, Write};

/// The socket with its session.
pub struct TlsStream {
    socket: TcpStream,
    session: Connection,
    /// Cipher text that was read, but not taken by the session yet.
    inbox: Vec<u8>,
    /// What broke it, to be told once what was read before has been.
    failure: Option<io::Error>,
    /// The last read has not emptied the socket.
    more: bool,
}

impl TlsStream {
    /// Begins a session; nothing is sent or read yet.
    pub fn new(socket: TcpStream, session: impl Into<Connection>) -> TlsStream {
        TlsStream {
            socket,
            session: session.into(),
            inbox: Vec::new(),
            failure: None,
            more: false,
        }
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The socket below, as the poll registers it.
    pub fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Whether there may be more to read without any event to tell of it.
    pub fn has_more(&self) -> bool {
        self.more || !self.inbox.is_empty() || self.failure.is_some()
    }

    /// Goes on with the handshake; true once it is complete. What it has to send may still wait for the
    /// socket then: see [`TlsStream::flush`].
    pub fn handshake(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        let mut cipher = self.unpack(scratch);
        let mut short = false;
        loop {
            self.flush()?;
            if !self.session.is_handshaking() {
                self.inbox = scratch[cipher].to_vec();
                self.more = !short;
                return Ok(true);
            }
            if cipher.is_empty() {
                if short {
                    return Ok(false);
                }
                match self.socket.read(scratch) {
                    Ok(0) => return Err(io::Error::other("Connection closed by peer")),
                    Ok(n) => (cipher, short) = (0..n, n < scratch.len()),
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            self.take_in(scratch, &mut cipher)?;
        }
    }

    /// Reads plain text into `room`; 0 at the end, WouldBlock if there is none. If the room was not
    /// filled, the socket is empty, unless [`TlsStream::has_more`].
    pub fn read(&mut self, room: &mut [u8], scratch: &mut [u8]) -> io::Result<usize> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let mut cipher = self.unpack(scratch);
        let mut filled = 0;
        self.more = true;
        while filled < room.len() {
            match self.session.reader().read(&mut room[filled..]) {
                Ok(n) if n > 0 => {
                    filled += n;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The end; if the peer went without a word, it is an end all the same.
                _ => {
                    self.more = true;
                    return Ok(filled);
                }
            }
            if cipher.is_empty() {
                if !self.more {
                    break;
                }
                match self.socket.read(scratch) {
                    Ok(n) => (cipher, self.more) = (0..n, n == scratch.len() || n == 0),
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => self.more = false,
                    Err(error) => return self.fail(filled, error),
                }
                if cipher.is_empty() && !self.more {
                    break;
                }
            }
            if let Err(error) = self.take_in(scratch, &mut cipher) {
                return self.fail(filled, error);
            }
        }
        if !cipher.is_empty() {
            self.inbox = scratch[cipher].to_vec();
        }
        if filled == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(filled)
    }

    /// What was read before counts.
    fn fail(&mut self, filled: usize, error: io::Error) -> io::Result<usize> {
        if filled == 0 {
            return Err(error);
        }
        self.failure = Some(error);
        Ok(filled)
    }

    /// Puts what was left over to where cipher text is read from.
    fn unpack(&mut self, scratch: &mut [u8]) -> std::ops::Range<usize> {
        let inbox = std::mem::take(&mut self.inbox);
        scratch[..inbox.len()].copy_from_slice(&inbox);
        0..inbox.len()
    }

    /// Has the session take some cipher text (none is the end of the stream) and make of it what it can.
    fn take_in(&mut self, scratch: &[u8], cipher: &mut std::ops::Range<usize>) -> io::Result<()> {
        let n = self.session.read_tls(&mut &scratch[cipher.clone()])?;
        cipher.start += n;
        self.session.process_new_packets().map_err(|error| {
            // The peer is told why, if it still listens.
            let _ = self.flush();
            io::Error::new(ErrorKind::InvalidData, error)
        })?;
        Ok(())
    }

    /// Takes plain text and sends it. Says how much was taken, and whether the socket takes no more now
    /// (then [`TlsStream::flush`] once it does).
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<(usize, bool)> {
        let taken = self.session.writer().write_vectored(slices)?;
        Ok((taken, !self.flush()?))
    }

    /// Sends what waits; true if all of it went.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl Drop for TlsStream {
    /// The peer is told that this is the end, and no attack on the way.
    fn drop(&mut self) {
        self.session.send_close_notify();
        let _ = self.flush();
    }
}
