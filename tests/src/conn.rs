//! A client that sends exactly the bytes it is told to and shows exactly the replies it got.

use crate::resp::{self, Fault, Value};
use crate::wait::SOON;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// One connection to a server.
pub struct Conn {
    stream: TcpStream,
    /// What was received and not yet taken.
    received: Vec<u8>,
    closed: bool,
    /// The longest that [`Conn::reply`] waits.
    pub patience: Duration,
}

impl Conn {
    /// Connects to this machine.
    pub fn open(port: u16) -> io::Result<Conn> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Conn {
            stream,
            received: Vec::new(),
            closed: false,
            patience: SOON,
        })
    }

    /// Sends one command. A connection that is gone swallows it: the reply will be [`Value::Closed`].
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        self.send_raw(&resp::command(args));
    }

    /// Sends bytes as they are. A connection that is gone swallows them.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next reply, [`Value::Closed`] at the end.
    ///
    /// # Panics
    /// When none comes in time, or what comes is not RESP.
    #[track_caller]
    pub fn reply(&mut self) -> Value {
        match self.try_reply(self.patience) {
            Ok(Some(value)) => value,
            Ok(None) => panic!(
                "no reply within {:?}; received {}",
                self.patience,
                resp::quote(&self.received)
            ),
            Err(fault) => panic!("{fault}; received {}", resp::quote(&self.received)),
        }
    }

    /// The next reply, `None` if none comes in time; an error if what comes is not RESP.
    pub fn try_reply(&mut self, within: Duration) -> Result<Option<Value>, String> {
        let deadline = Instant::now() + within;
        loop {
            if !self.received.is_empty() {
                match resp::parse(&self.received) {
                    Ok((value, length)) => {
                        self.received.drain(..length);
                        return Ok(Some(value));
                    }
                    Err(Fault::Malformed(why)) => return Err(why),
                    Err(Fault::Incomplete) => {}
                }
            }
            if self.closed {
                return Ok(Some(Value::Closed));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.fill(left) {
                return Ok(None);
            }
        }
    }

    /// Sends a command and waits for its reply.
    #[track_caller]
    pub fn cmd<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.send(args);
        self.reply()
    }

    /// Sends a command given as words in one line.
    #[track_caller]
    pub fn run(&mut self, line: &str) -> Value {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.cmd(&words)
    }

    /// Sends a command that must not fail.
    #[track_caller]
    pub fn ok(&mut self, line: &str) -> Value {
        let value = self.run(line);
        assert!(
            !value.is_error() && value != Value::Closed,
            "{line}: {value:?}"
        );
        value
    }

    /// A field of INFO; empty if it is not there.
    #[track_caller]
    pub fn info(&mut self, section: &str, field: &str) -> String {
        let report = self.cmd(&["INFO", section]).text();
        let found = report
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        found.unwrap_or_default().trim_end().to_owned()
    }

    /// Takes what comes in answer to PSYNC up to the end of the snapshot; commands follow.
    ///
    /// # Panics
    /// When it is not a snapshot of a stated length.
    #[track_caller]
    pub fn snapshot(&mut self) {
        let deadline = Instant::now() + self.patience;
        let mut announced = false;
        loop {
            // (Empty lines keep the link alive until the snapshot is there.)
            let blank = self.received.iter().take_while(|b| **b == b'\n').count();
            self.received.drain(..blank);
            let end = self.received.windows(2).position(|pair| pair == b"\r\n");
            if let Some(end) = end {
                let head = String::from_utf8_lossy(&self.received[..end]).into_owned();
                if !announced {
                    assert!(head.starts_with("+FULLRESYNC "), "{head}");
                    self.received.drain(..end + 2);
                    announced = true;
                    continue;
                }
                let length: usize = head[1..]
                    .parse()
                    .unwrap_or_else(|_| panic!("no snapshot: {head}"));
                if self.received.len() >= end + 2 + length {
                    self.received.drain(..end + 2 + length);
                    return;
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && self.fill(left), "no snapshot came");
        }
    }

    /// Everything that the server still sends until it closes the connection, or until `quiet` passes
    /// without another byte.
    pub fn drain(&mut self, quiet: Duration) -> Vec<u8> {
        while !self.closed && self.fill(quiet) {}
        std::mem::take(&mut self.received)
    }

    /// Whether the server has closed the connection (as far as was read).
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Tells the server that nothing more will be sent.
    pub fn finish_sending(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Waits for bytes; false if none came in time. The end of the stream counts as something.
    fn fill(&mut self, within: Duration) -> bool {
        let mut buffer = [0; 64 << 10];
        let _ = self
            .stream
            .set_read_timeout(Some(within.max(Duration::from_millis(1))));
        match self.stream.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(n) => self.received.extend_from_slice(&buffer[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.closed = true,
        }
        true
    }
}
