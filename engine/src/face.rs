//! What enters the engine and what leaves it, as data.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::net::SocketAddr;

/// The two clocks at one moment. The caller reads them; the engine never does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now {
    /// Microseconds of a clock that never goes back, from any origin: timers and durations.
    pub mono_us: u64,
    /// Microseconds since the Unix epoch; may jump either way: expiry, `TIME`, timestamps.
    pub unix_us: u64,
}

impl Now {
    /// Unix time in milliseconds, the unit of expiry.
    pub fn unix_ms(self) -> u64 {
        self.unix_us / 1000
    }

    /// The clock of last uses: monotonic seconds modulo 2²⁴.
    pub fn access_clock(self) -> u32 {
        (self.mono_us / 1_000_000) as u32 & 0xFF_FFFF
    }

    /// Monotonic time in milliseconds.
    pub fn mono_ms(self) -> u64 {
        self.mono_us / 1000
    }
}

/// One connection's name. Never reused while the engine lives: the serial number tells a slot's
/// successive tenants apart, so a late event for a closed connection hits nothing.
///
/// Accepted connections are named by the runtime (with small, dense indexes: the engine keeps its
/// sessions in an array), outgoing ones by the engine ([`Effect::Connect`]); the two never collide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

const OUTGOING: u64 = 1 << 63;

impl ConnId {
    /// An accepted connection in slot `index`, whose tenants so far numbered `serial` (below 2³¹).
    pub fn accepted(index: u32, serial: u32) -> ConnId {
        ConnId((u64::from(serial) << 32 | u64::from(index)) & !OUTGOING)
    }

    /// The `n`th connection that this engine opened.
    pub fn outgoing(n: u64) -> ConnId {
        ConnId(n | OUTGOING)
    }

    /// Whether the engine opened this connection itself.
    pub fn is_outgoing(self) -> bool {
        self.0 & OUTGOING != 0
    }

    /// The slot of an accepted connection.
    pub fn index(self) -> usize {
        self.0 as u32 as usize
    }
}

impl core::fmt::Debug for ConnId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.is_outgoing() {
            write!(f, "out#{}", self.0 & !OUTGOING)
        } else {
            write!(f, "in#{}.{}", self.index(), self.0 >> 32)
        }
    }
}

/// The kind of listener that a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// The clients' TCP port.
    Tcp,
    /// The clients' TLS port; the engine sees plain text.
    Tls,
    /// The clients' Unix socket.
    Unix,
    /// The cluster bus: TLS if `tls-cluster` says so.
    Bus,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and port.
    Ip(SocketAddr),
    /// A Unix socket's path.
    Unix(String),
}

/// What happens to the engine, besides bytes (which enter by [`crate::Engine::receive`]).
#[derive(Clone, Debug)]
pub enum Input {
    /// A peer connected to one of our listeners.
    Accepted {
        /// Its name from now on.
        conn: ConnId,
        /// Where it came in.
        listener: Listener,
        /// The peer's address.
        peer: Address,
        /// Our address, as the peer sees it.
        local: Address,
    },
    /// An [`Effect::Connect`] succeeded.
    Connected {
        /// The name from the effect.
        conn: ConnId,
        /// Our address on this connection.
        local: Address,
        /// The peer's address, resolved.
        peer: Address,
    },
    /// A connection ended, or could not be opened. The engine forgets it; no Close effect follows.
    Closed {
        /// Which.
        conn: ConnId,
        /// Why, for the log (`Connection refused`, `Connection reset by peer`, …; empty at a plain end).
        reason: String,
    },
    /// The answer to an [`Effect::Disk`]. Answers come in the order of the requests.
    Disk {
        /// The number of the request.
        op: OpId,
        /// What came of it.
        result: Result<DiskReply, DiskError>,
    },
    /// The answer to an [`Effect::Reconfigured`].
    Reconfigured {
        /// What could not be done. The change is undone then: another Reconfigured with the same names says
        /// so, and everything is to be made as it was.
        refused: Option<Refusal>,
    },
    /// A timer: due at [`crate::Engine::deadline`]. Harmless at any other time.
    Tick,
    /// SIGTERM or SIGINT: shut down in order, as SHUTDOWN does. The answer is [`Effect::Exit`].
    Shutdown {
        /// The signal's name, for the log.
        signal: &'static str,
    },
    /// What the allocator and the system say of our memory, for display in INFO only.
    Memory(MemoryReport),
    /// Something took long, for display in LATENCY only.
    Took {
        /// What.
        work: Work,
        /// How long, in microseconds.
        micros: u64,
    },
}

/// What the runtime times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The oldest request to the disk that is not answered yet: its answer comes next.
    Disk,
    /// The last [`Input::Tick`].
    Tick,
}

/// Why the runtime cannot do what a directive says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The directive's name.
    pub name: &'static str,
    /// What the client is told, in Redis's words.
    pub reason: String,
}

/// Figures about the process that only the runtime can know. Display only: no decision reads them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MemoryReport {
    /// Resident set size in bytes.
    pub rss_bytes: u64,
    /// The machine's memory in bytes.
    pub system_bytes: u64,
    /// Seconds of CPU time in user mode.
    pub cpu_user: f64,
    /// Seconds of CPU time in the kernel.
    pub cpu_sys: f64,
    /// The process's number.
    pub process_id: u32,
    /// The allocator's name and version; empty if nothing is known of it.
    pub allocator: &'static str,
    /// The longest turn of the event loop since the last report, in microseconds of the thread's CPU time.
    pub longest_turn_cpu_us: u64,
    /// The turns of the event loop since the last report.
    pub turns: TurnReport,
}

/// Turns of the event loop, from when it woke until it waits again. Times are in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnReport {
    /// How many.
    pub count: u64,
    /// What they took.
    pub total_us: u64,
    /// Of that, carrying out requests.
    pub requests_us: u64,
    /// Of that, the work that comes with time.
    pub ticks_us: u64,
    /// What the longest took.
    pub longest_us: u64,
}

impl TurnReport {
    /// These, and then those.
    pub fn add(&mut self, other: TurnReport) {
        self.count += other.count;
        self.total_us += other.total_us;
        self.requests_us += other.requests_us;
        self.ticks_us += other.ticks_us;
        self.longest_us = self.longest_us.max(other.longest_us);
    }
}

/// What the engine wants done. Effects must be carried out in the order in which they leave.
#[derive(Clone, Debug)]
#[must_use]
pub enum Effect {
    /// Open a connection; answered by [`Input::Connected`] or [`Input::Closed`].
    Connect {
        /// The name that it will have.
        conn: ConnId,
        /// Host name or IP address.
        host: String,
        /// TCP port.
        port: u16,
        /// Whether to speak TLS: [`Input::Connected`] then follows the handshake.
        tls: bool,
    },
    /// Close a connection now; what it had not been sent is dropped. No [`Input::Closed`] follows.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// Touch the disk; answered by [`Input::Disk`].
    Disk {
        /// The number that the answer carries. Numbers rise by one.
        op: OpId,
        /// What to do.
        request: DiskRequest,
    },
    /// A line for the log.
    Log {
        /// How important.
        level: LogLevel,
        /// The line, without time, process id and role mark.
        text: String,
    },
    /// The role mark of log lines changed: `M` primary, `S` replica (see Redis's log format).
    Role(char),
    /// Directives were changed by CONFIG SET: the runtime acts on those that concern it, as the engine's
    /// configuration has them now. Answered by [`Input::Reconfigured`], in the order of the effects.
    Reconfigured {
        /// The directives' names.
        names: Vec<&'static str>,
    },
    /// Small writes to this connection may wait to be sent together (`repl-disable-tcp-nodelay`).
    Delay {
        /// Which.
        conn: ConnId,
    },
    /// Memory that the allocator keeps for later is to go back to the system (MEMORY PURGE).
    Purge,
    /// What a supervisor of the process is to be told.
    Status(Status),
    /// Break, for a test of what happens then (DEBUG).
    Crash(Crash),
    /// Stop the process with this code. Everything durable was done before this left.
    Exit {
        /// 0 for an orderly end.
        code: i32,
    },
}

/// Stages of the server's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The data is loaded; a replica has yet to synchronise.
    Ready {
        /// Whether it follows a primary.
        replica: bool,
    },
    /// It is shutting down.
    Stopping,
    /// It writes the last snapshot.
    Saving,
    /// It goes on, since its files could not be written.
    Failed,
    /// It goes on, since it was told to.
    Resumed,
}

/// Ways to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// DEBUG ASSERT.
    Assert,
    /// DEBUG PANIC.
    Panic,
    /// DEBUG SEGFAULT.
    Segfault,
}

/// Redis's log levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// `.`
    Debug,
    /// `-`
    Verbose,
    /// `*`
    Notice,
    /// `#`
    Warning,
}

/// The number of a disk request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// The engine's own name for an open file. Given by [`DiskRequest::Open`], free again after Close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenMode {
    /// Read; it must exist.
    Read,
    /// Write from the start; made if absent, cut to nothing if present.
    Create,
    /// Write at the end; made if absent.
    Append,
}

/// One operation of the disk. Requests are carried out one after the other, in their order, on the
/// runtime's disk thread. Paths are relative to the process's directory unless they start with `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskRequest {
    /// Opens a file → [`DiskReply::Opened`].
    Open {
        /// The name for the requests that follow.
        file: FileId,
        /// Where.
        path: String,
        /// For what.
        mode: OpenMode,
    },
    /// Reads up to `len` bytes at `offset` → [`DiskReply::Data`]; fewer only at the end of the file.
    Read {
        /// A file opened with [`OpenMode::Read`].
        file: FileId,
        /// Position in the file, in bytes.
        offset: u64,
        /// At most this many bytes.
        len: u32,
    },
    /// Writes at the end of the file → [`DiskReply::Done`]. After an error, [`DiskError::written`]
    /// bytes of it are in the file all the same.
    Write {
        /// A file opened for writing.
        file: FileId,
        /// The bytes, in pieces.
        data: Vec<Bytes>,
    },
    /// Makes a file's data and size durable (`fdatasync`) → [`DiskReply::Done`].
    Sync {
        /// A file opened for writing.
        file: FileId,
    },
    /// Cuts a file to a length → [`DiskReply::Done`].
    Truncate {
        /// Where.
        path: String,
        /// The new length in bytes.
        len: u64,
    },
    /// Closes a file → [`DiskReply::Done`].
    Close {
        /// Which.
        file: FileId,
    },
    /// Renames, replacing → [`DiskReply::Done`]. Durable only after [`DiskRequest::SyncDir`].
    Rename {
        /// Old path.
        from: String,
        /// New path.
        to: String,
    },
    /// Deletes a file → [`DiskReply::Done`]. Durable only after [`DiskRequest::SyncDir`].
    Remove {
        /// Where.
        path: String,
    },
    /// Makes a directory; no error if it is there → [`DiskReply::Done`].
    MakeDir {
        /// Where.
        path: String,
    },
    /// Names of the regular files in a directory → [`DiskReply::Names`].
    List {
        /// Where.
        path: String,
    },
    /// Takes a lock that no other process can have at the same time, and keeps it until the file is closed or
    /// the process ends → [`DiskReply::Done`], or [`DiskErrorKind::Locked`]. One that `file` had before is let go.
    Lock {
        /// The name for [`DiskRequest::Close`].
        file: FileId,
        /// A file, which is made if absent, or a directory.
        path: String,
        /// How long to wait for another process's lock to go, in milliseconds.
        patience_ms: u64,
    },
    /// Makes a directory's entries durable (`fsync` of it) → [`DiskReply::Done`].
    SyncDir {
        /// Where.
        path: String,
    },
}

/// What came of a disk request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskReply {
    /// It is done.
    Done,
    /// The file is open.
    Opened {
        /// Its length in bytes.
        len: u64,
    },
    /// What was read.
    Data(Vec<u8>),
    /// File names, in no particular order.
    Names(Vec<String>),
}

/// Why a disk request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// The class that policy looks at.
    pub kind: DiskErrorKind,
    /// For writes: how many bytes are in the file all the same.
    pub written: u64,
    /// The system's words (`No space left on device`).
    pub message: String,
}

/// Classes of disk errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskErrorKind {
    /// Another process holds the lock.
    Locked,
    /// ENOENT.
    NotFound,
    /// ENOSPC, EDQUOT.
    NoSpace,
    /// EACCES, EPERM, EROFS.
    Denied,
    /// EIO and all others.
    Io,
}
