//! What the engine knows of one client connection.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::subscriptions::Subscriptions;
use super::tracking;
use super::waits::Waiting;
use super::watch::Watched;
use super::weights::Weight;
use crate::acl::UserId;
use crate::face::{Address, ConnId, Listener, Now};
use crate::resp::{Arg, Output, Partial};

/// Conditions of a session that a command may have to heed. The common case has none set.
pub mod alert {
    /// It has yet to authenticate.
    pub const UNAUTHENTICATED: u32 = 1;
    /// It is between MULTI and EXEC.
    pub const MULTI: u32 = 1 << 1;
    /// ASKING was its last command.
    pub const ASKING: u32 = 1 << 2;
    /// READONLY: it takes reads from replicas in cluster mode.
    pub const READONLY: u32 = 1 << 3;
    /// Its replies, or those to the next command, are thrown away (CLIENT REPLY OFF or SKIP).
    pub const MUTED: u32 = 1 << 4;
    /// It is a replica of ours.
    pub const REPLICA: u32 = 1 << 5;
    /// Its commands come from our primary, or from a file: they are carried out as they stand.
    pub const TRUSTED: u32 = 1 << 6;
    /// It is to be closed when its output has been sent.
    pub const CLOSING: u32 = 1 << 7;
    /// It is subscribed to something.
    pub const SUBSCRIBED: u32 = 1 << 8;
    /// SCRIPT DEBUG: its scripts are debugged.
    pub const DEBUGS: u32 = 1 << 9;
    /// SCRIPT DEBUG SYNC: what they change stays, and others wait meanwhile.
    pub const DEBUGS_SYNC: u32 = 1 << 10;
    /// A script of its is being debugged: what it sends are commands for the debugger.
    pub const DEBUGGING: u32 = 1 << 11;
    /// Its user may not do everything.
    pub const LIMITED: u32 = 1 << 16;
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReplyMode {
    /// Every command is answered.
    #[default]
    On,
    /// None is.
    Off,
    /// The running command is not answered.
    Skip,
}

/// A command that waits for EXEC.
#[derive(Clone, Debug)]
pub struct Queued {
    /// Number of the command in the table's index.
    pub number: u16,
    /// The request as RESP.
    pub request: Box<[u8]>,
    /// The words in it.
    pub args: Box<[Arg]>,
}

/// The state between MULTI and EXEC.
#[derive(Clone, Debug, Default)]
pub struct Multi {
    /// What was queued.
    pub queue: Vec<Queued>,
    /// Bytes of its words, and of what it takes to keep them.
    pub word_bytes: usize,
    /// Bytes that the queue takes.
    pub queue_bytes: usize,
    /// All flags of the queued commands.
    pub flags: u32,
    /// All flags that some queued command lacks.
    pub lacking: u32,
    /// A command could not be queued: EXEC will refuse.
    pub aborted: bool,
}

/// What WAIT and WAITAOF wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitWish {
    /// Everything up to this journal offset.
    pub offset: u64,
    /// On so many replicas.
    pub replicas: i64,
    /// WAITAOF: on their disks, and if true, on ours.
    pub on_disk: Option<bool>,
}

/// What a session that gets no further commands carried out waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// A blocking command: a key.
    Keys(Waiting),
    /// WAIT and WAITAOF.
    Wait {
        /// What for.
        wish: WaitWish,
        /// Monotonic time in microseconds at which the count so far is the answer.
        until_us: Option<u64>,
    },
    /// An order to the cluster: until nodes.conf holds what it changed.
    Config {
        /// The answer, a simple string.
        reply: alloc::string::String,
        /// The order was to save: that it failed is an error then.
        saving: bool,
    },
    /// ACL LOAD: the file being read; ACL SAVE: it being in place.
    AclFile,
    /// CONFIG REWRITE: the file being in place.
    ConfigRewrite,
    /// CONFIG SET: the runtime's word that it can do what the new values say.
    ConfigSet,
    /// MIGRATE: the target's answers.
    Migrate,
    /// Its next request waits for the end of a pause, or of a MIGRATE of its keys.
    Paused,
    /// DEBUG RELOAD: the data being read back.
    Reload,
    /// SAVE: the end of the snapshot.
    Save,
    /// A script: its end.
    Script,
    /// SHUTDOWN: the end of the process, or an error.
    Shutdown,
}

/// One client connection. Replicas of ours are sessions too.
#[derive(Debug)]
pub struct Session {
    /// The client's number, as CLIENT ID gives it.
    pub id: u64,
    /// The connection.
    pub conn: ConnId,
    /// Where it came in.
    pub listener: Listener,
    /// The peer's address.
    pub peer: Address,
    /// Our address.
    pub local: Address,
    /// When it connected, in monotonic milliseconds.
    pub since_ms: u64,
    /// When it last sent something, in monotonic milliseconds.
    pub active_ms: u64,
    /// See [`alert`].
    pub alerts: u32,
    /// Who it is.
    pub user: UserId,
    /// It has proved who it is, or came when nobody had to.
    pub authenticated: bool,
    /// The selected database.
    pub db: usize,
    /// What waits to be sent.
    pub out: Output,
    /// The beginning of an unfinished request, and what has not been carried out while blocked.
    pub query: Vec<u8>,
    /// Where the unfinished request at the start of `query` stands.
    pub partial: Partial,
    /// The words of the unfinished request.
    pub partial_args: Vec<Arg>,
    /// The state between MULTI and EXEC.
    pub multi: Option<Box<Multi>>,
    /// Bytes that came in and that the running turn has not carried out yet.
    pub request_bytes: usize,
    /// Bytes that the unfinished request has at least, by what it says of its next word.
    pub awaited_bytes: usize,
    /// Bytes of its words, while CLIENT LIST or INFO looks at them.
    pub word_bytes: usize,
    /// What is watched.
    pub watched: Vec<Watched>,
    /// Bytes of the keys in it.
    pub watched_bytes: usize,
    /// What it listens to.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// How it tracks what it caches.
    pub tracking: Option<Box<tracking::Mode>>,
    /// What it waits for.
    pub blocked: Option<Box<Blocked>>,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// The next command is not to be answered.
    pub skip_next: bool,
    /// While replies are thrown away: the position in the output from which on they are.
    pub muted_from: u64,
    /// CLIENT SETNAME.
    pub name: Box<[u8]>,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: Box<[u8]>,
    /// CLIENT SETINFO LIB-VER.
    pub lib_ver: Box<[u8]>,
    /// It sees all commands (MONITOR).
    pub monitors: bool,
    /// CLIENT NO-EVICT.
    pub no_evict: bool,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// CLIENT IMPORT-SOURCE.
    pub imports: bool,
    /// CLIENT CAPA REDIRECT: it goes where it is sent, from a replica to its primary.
    pub goes_elsewhere: bool,
    /// Number of the last command in the table's index.
    pub last_command: Option<u16>,
    /// Journal offset after its last command, for WAIT.
    pub last_offset: u64,
    /// Since when more waits to be sent than the soft limit allows, in monotonic milliseconds.
    pub above_soft_limit_since_ms: Option<u64>,
    /// Bytes that came in.
    pub bytes_in: u64,
    /// Whether it stands in the queue of those with something to send.
    pub(super) queued: bool,
    /// What it was last weighed at.
    pub(super) weight: Weight,
}

/// The memory that the system gives at once.
const PAGE: usize = 4096;

/// Buffers up to here count whole, and words up to here only as they come.
const SMALL: usize = 16 * PAGE;

impl Session {
    /// A fresh connection.
    pub fn new(
        id: u64,
        conn: ConnId,
        listener: Listener,
        peer: Address,
        local: Address,
        now: Now,
    ) -> Session {
        Session {
            id,
            conn,
            listener,
            peer,
            local,
            since_ms: now.mono_ms(),
            active_ms: now.mono_ms(),
            alerts: 0,
            user: UserId::DEFAULT,
            authenticated: false,
            db: 0,
            out: Output::default(),
            query: Vec::new(),
            partial: Partial::default(),
            partial_args: Vec::new(),
            multi: None,
            request_bytes: 0,
            awaited_bytes: 0,
            word_bytes: 0,
            watched: Vec::new(),
            watched_bytes: 0,
            subscriptions: None,
            tracking: None,
            blocked: None,
            reply_mode: ReplyMode::On,
            skip_next: false,
            muted_from: 0,
            name: Box::default(),
            lib_name: Box::default(),
            lib_ver: Box::default(),
            monitors: false,
            no_evict: false,
            no_touch: false,
            imports: false,
            goes_elsewhere: false,
            last_command: None,
            last_offset: 0,
            above_soft_limit_since_ms: None,
            bytes_in: 0,
            queued: false,
            weight: Weight::default(),
        }
    }

    /// Whether a condition of [`alert`] is set.
    #[inline]
    pub fn is(&self, alert: u32) -> bool {
        self.alerts & alert != 0
    }

    /// Sets or clears a condition of [`alert`].
    pub fn set(&mut self, alert: u32, on: bool) {
        self.alerts = if on {
            self.alerts | alert
        } else {
            self.alerts & !alert
        };
    }

    /// Whether it is not a connection, but what a script's commands run in.
    #[inline]
    pub fn is_script(&self) -> bool {
        self.conn == ConnId::outgoing(0)
    }

    /// Whether it is the link to our primary.
    #[inline]
    pub fn is_primary(&self) -> bool {
        self.conn.is_outgoing() && !self.is_script()
    }

    /// Whether commands may be carried out for it.
    #[inline]
    pub fn runs(&self) -> bool {
        self.blocked.is_none() && !self.is(alert::CLOSING)
    }

    /// When its waiting ends whatever happens, in monotonic microseconds.
    pub fn blocked_until_us(&self) -> Option<u64> {
        match self.blocked.as_deref() {
            Some(Blocked::Wait { until_us, .. }) => *until_us,
            Some(Blocked::Keys(waiting)) => waiting.until_us,
            _ => None,
        }
    }

    /// Whether the network has not taken yet what it was offered.
    pub fn is_slow(&self) -> bool {
        !self.queued && self.out.sendable() > 0
    }

    /// Bytes that came in and are not carried out yet, and what is spare behind them (`qbuf` and `qbuf-free` in
    /// CLIENT LIST). What stands before a large word is not among them: it is a word of its own already.
    pub fn query_bytes(&self) -> (usize, usize) {
        const LARGE: usize = 32 * 1024;
        let before = self.partial.large_element(LARGE).unwrap_or(0);
        let waiting = self.query.len().saturating_sub(before);
        (
            waiting + self.request_bytes,
            self.query.capacity() - self.query.len(),
        )
    }

    /// Bytes that the unfinished request takes. (What is spare at the end of a large buffer was never touched: the
    /// system has given no memory for it.)
    fn query_memory(&self) -> usize {
        match self.query.capacity() {
            small if small <= SMALL => small,
            large => large.min(self.query.len().next_multiple_of(PAGE)),
        }
    }

    /// Bytes of requests. A large word counts as soon as it is announced: who is to be sent away for it is not to send
    /// it first.
    fn request_memory(&self) -> usize {
        let held = self.query_memory() + self.request_bytes;
        match self.awaited_bytes {
            small if small <= SMALL => held,
            large => held.max(large.next_multiple_of(PAGE)),
        }
    }

    /// Bytes of memory that the session holds. Takes no time to speak of, however much that is.
    pub fn memory(&self) -> usize {
        let blocked = match self.blocked.as_deref() {
            Some(Blocked::Keys(waiting)) => waiting.request.len() + waiting.keys.len() * 64,
            _ => 0,
        };
        size_of::<Session>()
            + self.out.memory()
            + self.request_memory()
            + self.multi.as_ref().map_or(0, |multi| multi.queue_bytes)
            + self.watched_bytes
            + blocked
            + self.name.len()
            + (self.subscriptions.as_ref()).map_or(0, |mine| mine.memory())
            + self.tracking.as_ref().map_or(0, |mode| mode.memory())
    }
}
