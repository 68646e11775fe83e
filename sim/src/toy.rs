//! A toy server with the engine's face: the commands of the workload, an append-only file, a release gate. It exists
//! to test the simulator: a world around the honest toy must raise no alarm, and each of its bugs must be found.

use crate::model::{Keyspace, Ripeness, Window, keys_of};
use crate::probe::Standing;
use crate::resp::{self, Reply};
use bytes::Bytes;
use reprise_engine::{ConnId, DiskReply, DiskRequest, Effect, FileId, Input, Now, OpId, OpenMode};
use std::collections::{BTreeMap, VecDeque};

/// What is wrong with a toy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToyBug {
    /// Replies do not wait for the log to be synced.
    AcknowledgesBeforeSync,
    /// The log's own directory entry is never made durable.
    ForgetsSyncDir,
    /// Deadlines are logged as spans: they begin anew at a restart.
    RelativeExpiry,
    /// A transaction's commands may be parted by others'.
    SplitsTransactions,
    /// A failed sync is ignored.
    TrustsFailedSync,
    /// INCR under load sometimes does nothing.
    DropsAnIncrement,
}

const LOG: &str = "toy.aof";
const FILE: FileId = FileId(1);

/// The toy. Driven like the engine.
#[derive(Debug)]
pub struct Toy {
    bug: Option<ToyBug>,
    space: Keyspace,
    conns: BTreeMap<ConnId, Session>,
    effects: VecDeque<Effect>,
    next_op: u64,
    loading: bool,
    loaded: Vec<u8>,
    /// Bytes journalled, and of these written and synced.
    journalled: u64,
    synced: u64,
    pending: Vec<u8>,
    /// The journal's length at each sync in flight.
    syncs: VecDeque<(OpId, u64)>,
    last_requests: VecDeque<(OpId, Step)>,
    executed: u64,
}

#[derive(Debug, PartialEq)]
enum Step {
    OpenRead,
    Read,
    Other,
    Sync,
}

#[derive(Debug, Default)]
struct Session {
    input: Vec<u8>,
    queued: Option<Vec<Vec<Vec<u8>>>>,
    watched: Option<(Vec<u8>, Reply)>,
    /// Replies with the journal length that must be durable before they may leave.
    out: VecDeque<(u64, Vec<u8>)>,
    ready: Vec<u8>,
    /// There is more in `ready` than was announced.
    fresh: bool,
}

impl Toy {
    /// Starts and begins to load.
    pub fn new(bug: Option<ToyBug>) -> Toy {
        let mut toy = Toy {
            bug,
            space: Keyspace::default(),
            conns: BTreeMap::new(),
            effects: VecDeque::new(),
            next_op: 0,
            loading: true,
            loaded: Vec::new(),
            journalled: 0,
            synced: 0,
            pending: Vec::new(),
            syncs: VecDeque::new(),
            last_requests: VecDeque::new(),
            executed: 0,
        };
        toy.disk(
            DiskRequest::Open {
                file: FILE,
                path: LOG.into(),
                mode: OpenMode::Read,
            },
            Step::OpenRead,
        );
        toy
    }

    /// See [`Standing`].
    pub fn standing(&self) -> Standing {
        Standing {
            loading: self.loading,
            offset: self.journalled,
            ..Standing::default()
        }
    }

    /// An event.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Accepted { conn, .. } => {
                self.conns.insert(conn, Session::default());
            }
            Input::Closed { conn, .. } => {
                self.conns.remove(&conn);
            }
            Input::Disk { op, result } => {
                let Some((expected, step)) = self.last_requests.pop_front() else {
                    return;
                };
                assert_eq!(expected, op, "disk answers come in order");
                match (step, result) {
                    (Step::OpenRead, Ok(_)) => {
                        self.disk(
                            DiskRequest::Read {
                                file: FILE,
                                offset: 0,
                                len: u32::MAX,
                            },
                            Step::Read,
                        );
                    }
                    (Step::OpenRead, Err(_)) => self.loaded(now),
                    (Step::Read, Ok(DiskReply::Data(bytes))) => {
                        self.loaded = bytes;
                        self.loaded(now);
                    }
                    (Step::Sync, result) => {
                        let Some((_, upto)) = self.syncs.pop_front() else {
                            return;
                        };
                        if result.is_ok() || self.bug == Some(ToyBug::TrustsFailedSync) {
                            self.synced = upto;
                            self.release();
                        } else {
                            self.effects.push_back(Effect::Exit { code: 1 });
                        }
                    }
                    (_, Err(_)) => self.effects.push_back(Effect::Exit { code: 1 }),
                    _ => {}
                }
            }
            Input::Shutdown { .. } => self.effects.push_back(Effect::Exit { code: 0 }),
            Input::Connected { .. }
            | Input::Reconfigured { .. }
            | Input::Tick
            | Input::Memory(_)
            | Input::Took { .. } => {}
        }
    }

    /// Bytes from connections.
    pub fn receive(&mut self, now: Now, reads: &[(ConnId, &[u8])]) {
        for (conn, bytes) in reads {
            let Some(mut session) = self.conns.remove(conn) else {
                continue;
            };
            session.input.extend_from_slice(bytes);
            loop {
                match resp::parse_request(&session.input) {
                    Ok(Some((argv, len))) => {
                        session.input.drain(..len);
                        self.request(now, &mut session, argv);
                    }
                    Ok(None) => {
                        self.conns.insert(*conn, session);
                        break;
                    }
                    Err(_) => {
                        self.effects.push_back(Effect::Close { conn: *conn });
                        break;
                    }
                }
            }
        }
        if !self.pending.is_empty() {
            let data = vec![Bytes::from(std::mem::take(&mut self.pending))];
            self.disk(DiskRequest::Write { file: FILE, data }, Step::Other);
            let op = self.disk(DiskRequest::Sync { file: FILE }, Step::Sync);
            self.syncs.push_back((op, self.journalled));
        }
        self.release();
    }

    /// The next effect.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Connections with something new to send.
    pub fn outputs(&mut self) -> Vec<ConnId> {
        let fresh = self
            .conns
            .iter_mut()
            .filter_map(|(conn, session)| std::mem::take(&mut session.fresh).then_some(*conn));
        fresh.collect()
    }

    /// What to send on one.
    pub fn output(&self, conn: ConnId) -> &[u8] {
        self.conns.get(&conn).map_or(&[], |session| &session.ready)
    }

    /// The network took `n` bytes.
    pub fn sent(&mut self, conn: ConnId, n: usize) {
        if let Some(session) = self.conns.get_mut(&conn) {
            session.ready.drain(..n);
        }
    }

    fn disk(&mut self, request: DiskRequest, step: Step) -> OpId {
        self.next_op += 1;
        let op = OpId(self.next_op);
        self.last_requests.push_back((op, step));
        self.effects.push_back(Effect::Disk { op, request });
        op
    }

    fn loaded(&mut self, now: Now) {
        let bytes = std::mem::take(&mut self.loaded);
        let mut at = 0;
        // Each record is an array of commands that belong together; a torn last one does not count.
        while let Ok(Some((Reply::Array(commands), len))) = resp::parse(&bytes[at..]) {
            for command in commands {
                let Reply::Array(words) = command else {
                    continue;
                };
                let argv: Vec<Vec<u8>> = words
                    .into_iter()
                    .map(|word| match word {
                        Reply::Bulk(word) => word,
                        _ => Vec::new(),
                    })
                    .collect();
                self.apply_logged(&argv, Window::at(now.unix_us));
            }
            at += len;
        }
        self.loading = false;
        if at > 0 {
            self.disk(
                DiskRequest::Truncate {
                    path: LOG.into(),
                    len: at as u64,
                },
                Step::Other,
            );
        }
        self.disk(
            DiskRequest::Open {
                file: FILE,
                path: LOG.into(),
                mode: OpenMode::Append,
            },
            Step::Other,
        );
        if self.bug != Some(ToyBug::ForgetsSyncDir) {
            self.disk(DiskRequest::SyncDir { path: ".".into() }, Step::Other);
        }
    }

    fn request(&mut self, now: Now, session: &mut Session, argv: Vec<Vec<u8>>) {
        let Some(name) = argv.first().map(|name| name.to_ascii_uppercase()) else {
            return;
        };
        let reply = match (name.as_slice(), &mut session.queued) {
            (b"MULTI", None) => {
                session.queued = Some(Vec::new());
                Reply::ok()
            }
            (b"EXEC", Some(_)) => self.exec(now, session),
            (_, Some(queue)) => {
                queue.push(argv);
                Reply::Simple(b"QUEUED".to_vec())
            }
            (b"WATCH", None) if argv.len() == 2 && !self.loading => {
                let seen = self
                    .run(now, vec![vec![b"GET".to_vec(), argv[1].clone()]])
                    .pop();
                session.watched = seen.map(|seen| (argv[1].clone(), seen));
                Reply::ok()
            }
            (b"HELLO" | b"EXEC", None) => Reply::Error(b"ERR not here".to_vec()),
            _ if self.loading => Reply::Error(b"LOADING the toy is waking up".to_vec()),
            _ => self.run(now, vec![argv]).pop().unwrap_or(Reply::Nil),
        };
        let gate = if self.bug == Some(ToyBug::AcknowledgesBeforeSync) {
            0
        } else {
            self.journalled
        };
        let mut bytes = Vec::new();
        resp::encode_reply(&mut bytes, &reply);
        session.out.push_back((gate, bytes));
    }

    fn exec(&mut self, now: Now, session: &mut Session) -> Reply {
        let queue = session.queued.take().unwrap_or_default();
        let watched = session.watched.take();
        if self.loading {
            return Reply::Error(b"EXECABORT loading".to_vec());
        }
        if let Some((key, seen)) = watched {
            let now_seen = self.run(now, vec![vec![b"GET".to_vec(), key]]).pop();
            if now_seen != Some(seen) {
                return Reply::Nil;
            }
        }
        if self.bug == Some(ToyBug::SplitsTransactions) {
            let parts = queue.into_iter().map(|argv| self.run(now, vec![argv]));
            return Reply::Array(parts.flatten().collect());
        }
        Reply::Array(self.run(now, queue))
    }

    fn run(&mut self, now: Now, commands: Vec<Vec<Vec<u8>>>) -> Vec<Reply> {
        let mut replies = Vec::new();
        let mut effects = Vec::new();
        let time = Window::at(now.unix_us);
        for argv in &commands {
            self.executed += 1;
            let dropped =
                self.bug == Some(ToyBug::DropsAnIncrement) && self.executed.is_multiple_of(8);
            if dropped && argv[0] == b"INCR" {
                replies.push(self.space.clone().execute(argv, time, None));
                continue;
            }
            for key in keys_of(argv) {
                if self.space.ripe(key, time) != Ripeness::Alive {
                    self.space.expire(key);
                    effects.push(words(&[b"DEL", key]));
                }
            }
            let before = self.space.clone();
            let reply = self.space.execute(argv, time, None);
            if self.space != before {
                effects.extend(self.effect(argv, &reply));
            }
            replies.push(reply);
        }
        if !effects.is_empty() {
            let start = self.pending.len();
            resp::encode_reply(&mut self.pending, &Reply::Array(effects));
            self.journalled += (self.pending.len() - start) as u64;
        }
        replies
    }

    /// What to write into the log: deadlines as moments, chance as its outcome.
    fn effect(&self, argv: &[Vec<u8>], reply: &Reply) -> Vec<Reply> {
        let deadline = self
            .space
            .iter()
            .find(|(key, ..)| *key == argv[1].as_slice())
            .and_then(|(.., at)| at);
        let own: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        match (argv[0].as_slice(), reply, deadline) {
            (b"SPOP", Reply::Bulk(member), _) => vec![words(&[b"SREM", &argv[1], member])],
            (b"PEXPIRE" | b"SET", _, Some(at)) if self.bug != Some(ToyBug::RelativeExpiry) => {
                let value = if argv[0] == b"SET" {
                    vec![words(&own[..3])]
                } else {
                    Vec::new()
                };
                let moment = words(&[b"TOYEXPIRY", &argv[1], at.latest.to_string().as_bytes()]);
                value.into_iter().chain([moment]).collect()
            }
            _ => vec![words(&own)],
        }
    }

    fn apply_logged(&mut self, argv: &[Vec<u8>], time: Window) {
        if argv[0] == b"TOYEXPIRY" {
            let at = std::str::from_utf8(&argv[2])
                .ok()
                .and_then(|text| text.parse().ok());
            self.space
                .set_deadline(&argv[1], Window::at(at.unwrap_or(0)));
        } else {
            self.space.execute(argv, time, None);
        }
    }

    fn release(&mut self) {
        let synced = self.synced;
        let loading = self.loading;
        for session in self.conns.values_mut() {
            while session
                .out
                .front()
                .is_some_and(|&(gate, _)| gate <= synced || loading)
            {
                let Some((_, bytes)) = session.out.pop_front() else {
                    break;
                };
                session.ready.extend(bytes);
                session.fresh = true;
            }
        }
    }
}

fn words(words: &[&[u8]]) -> Reply {
    Reply::Array(words.iter().map(|word| Reply::bulk(*word)).collect())
}
