//! The endpoint for Prometheus: `GET /metrics` on `metrics-port`, by HTTP/1.1, one request a connection.
//!
//! The poll loop accepts and renders; reading a request and writing the answer, which may take as long as
//! the peer likes up to [`PATIENCE`], each has a short-lived thread, of which there are at most [`MOST`].
//! Sources: RFC 9112, <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use crate::listen;
use crate::log::words;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, Waker};
use reprise_engine::config::Config;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Requests that are answered at the same time; the next are closed at once.
const MOST: usize = 16;
/// How long a peer may take for its request, and again for taking the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest head of a request.
const LONGEST: usize = 8 * 1024;

/// Where a thread wants the text to be sent.
type Question = SyncSender<String>;

/// The poll loop's end.
pub struct Endpoint {
    listener: Option<TcpListener>,
    /// There may be connections to accept.
    pub ready: bool,
    questions: Receiver<Question>,
    asking: Asking,
}

/// What a thread needs.
#[derive(Clone)]
struct Asking {
    questions: Sender<Question>,
    waker: Arc<Waker>,
    busy: Arc<AtomicUsize>,
}

impl Endpoint {
    /// Listens nowhere yet. `waker` is woken when a thread wants the text.
    pub fn new(waker: Arc<Waker>) -> Endpoint {
        let (sender, questions) = channel();
        let asking = Asking {
            questions: sender,
            waker,
            busy: Arc::default(),
        };
        Endpoint {
            listener: None,
            ready: false,
            questions,
            asking,
        }
    }

    /// Listens where the configuration says, and nowhere else.
    ///
    /// # Errors
    /// The line for the log.
    pub fn listen(
        &mut self,
        config: &Config,
        registry: &Registry,
        token: Token,
    ) -> Result<(), String> {
        self.listener = None;
        let (host, port) = (&config.metrics_bind, config.metrics_port);
        if port == 0 {
            return Ok(());
        }
        let opened = listen::socket(host, port, config).and_then(|socket| {
            let listener = TcpListener::from(socket);
            let fd = listener.as_raw_fd();
            registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
            Ok(listener)
        });
        let opened = opened.map_err(|error| {
            format!(
                "Could not create the listening socket for metrics {host}:{port}: {}",
                words(&error)
            )
        })?;
        self.listener = Some(opened);
        self.ready = true;
        Ok(())
    }

    /// Accepts what is there.
    pub fn accept(&mut self) {
        let Some(listener) = self.listener.as_ref().filter(|_| self.ready) else {
            // What was told of a listener that is gone.
            self.ready = false;
            return;
        };
        for _ in 0..MOST {
            match listener.accept() {
                Ok((stream, _)) => self.asking.begin(stream),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.ready = false;
                    return;
                }
            }
        }
    }

    /// Answers the threads that want the text.
    pub fn answer(&self, render: impl FnOnce() -> String) {
        let waiting: Vec<Question> = self.questions.try_iter().collect();
        if waiting.is_empty() {
            return;
        }
        let text = render();
        for question in waiting {
            let _ = question.try_send(text.clone());
        }
    }
}

impl Asking {
    fn begin(&self, stream: TcpStream) {
        if self.busy.fetch_add(1, Ordering::Relaxed) >= MOST {
            self.busy.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let asking = self.clone();
        let started = thread::Builder::new()
            .name("metrics".into())
            .spawn(move || {
                // A peer that breaks its connection knows.
                let _ = asking.serve(stream);
                asking.busy.fetch_sub(1, Ordering::Relaxed);
            });
        if started.is_err() {
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        let head = match read_head(&mut stream)? {
            Some(head) => head,
            None => {
                return write(
                    &mut stream,
                    &answer("431 Request Header Fields Too Large", ""),
                );
            }
        };
        let reply = match wanted(&head) {
            Wanted::Text { body } => match self.text() {
                Some(text) => {
                    let whole = answer("200 OK", &text);
                    let head = whole.len() - text.len();
                    whole[..if body { whole.len() } else { head }].to_owned()
                }
                None => answer("503 Service Unavailable", "The server is busy.\n"),
            },
            Wanted::Nothing(status) => answer(status, "Metrics are at /metrics.\n"),
        };
        write(&mut stream, &reply)
    }

    fn text(&self) -> Option<String> {
        let (sender, receiver) = sync_channel(1);
        self.questions.send(sender).ok()?;
        self.waker.wake().ok()?;
        receiver.recv_timeout(PATIENCE).ok()
    }
}

/// The head of a request, `None` if it is too long.
fn read_head(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let deadline = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let n = match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        head.extend_from_slice(&buffer[..n]);
        if head.windows(4).any(|end| end == b"\r\n\r\n")
            || head.windows(2).any(|end| end == b"\n\n")
        {
            return Ok(Some(head));
        }
        if head.len() > LONGEST {
            return Ok(None);
        }
    }
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// The metrics, or only the head of the answer.
    Text { body: bool },
    /// Something that there is not: the status says what.
    Nothing(&'static str),
}

fn wanted(head: &[u8]) -> Wanted {
    let line = head.split(|&b| b == b'\n').next().unwrap_or_default();
    let mut words = line.trim_ascii_end().split(|&b| b == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version), None) = (method, target, version, words.next())
    else {
        return Wanted::Nothing("400 Bad Request");
    };
    if !version.starts_with(b"HTTP/1.") {
        return Wanted::Nothing("400 Bad Request");
    }
    let path = target.split(|&b| b == b'?').next().unwrap_or_default();
    match (method, path) {
        (b"GET", b"/metrics") => Wanted::Text { body: true },
        (b"HEAD", b"/metrics") => Wanted::Text { body: false },
        (b"GET" | b"HEAD", _) => Wanted::Nothing("404 Not Found"),
        _ => Wanted::Nothing("405 Method Not Allowed"),
    }
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

fn write(stream: &mut TcpStream, text: &str) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left))?;
        match stream.write(rest) {
            Ok(n) => rest = &rest[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // What the peer sends after its request must not break the connection before it has read the answer.
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let _ = stream.read(&mut [0; 1024]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let text = |body| Wanted::Text { body };
        assert_eq!(
            wanted(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
            text(true)
        );
        assert_eq!(wanted(b"GET /metrics?a=b HTTP/1.0\n\n"), text(true));
        assert_eq!(wanted(b"HEAD /metrics HTTP/1.1\r\n\r\n"), text(false));
        let not = |head: &[u8]| match wanted(head) {
            Wanted::Nothing(status) => status[..3].to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(not(b"GET / HTTP/1.1\r\n\r\n"), "404");
        assert_eq!(not(b"POST /metrics HTTP/1.1\r\n\r\n"), "405");
        assert_eq!(not(b"GET /metrics\r\n\r\n"), "400");
        assert_eq!(not(b"PING\r\n\r\n"), "400");
        assert_eq!(not(b"GET /metrics HTTP/2\r\n\r\n"), "400");
    }
}
