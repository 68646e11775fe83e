//! The rehearser: somebody who debugs scripts at one node, of which nothing may stay.
//!
//! A session of SCRIPT DEBUG YES changes keys of the workload, with values that nobody else writes, and stands still
//! in between, while others are served, snapshots are made, data goes to replicas and nodes crash. What it changes
//! is its own, so it is in no history: whoever sees any of it sees what cannot be explained (D1), and so does a
//! server that reads it back from a file (D2), or a replica that holds it (R1).

use crate::client::CLIENT_PORT;
use crate::marks::Marks;
use crate::network::{EndRef, Host, Network, Notice};
use crate::resp;
use crate::rng::Rng;
use crate::time::{MS, Micros, SEC};
use crate::workload::{self, Act, Planned};

/// Its number among the clients, in the values that it writes.
const NUMBER: u16 = 900;

/// What the debugger says when a script stands still, and when it is over: words of equal length.
const STOPPED: &[u8; 12] = b"* Stopped at";
const ENDED: &[u8; 12] = b"<endsession>";

/// A session with a debugger.
#[derive(Debug)]
struct Session {
    end: EndRef,
    group: u16,
    /// The end of what was read: a word may come in two pieces.
    read: Vec<u8>,
    /// The server has said that the next script is debugged: before, it would be carried out.
    begun: bool,
    /// The script stands still, and waits for a command.
    stopped: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Rehearser {
    host: Host,
    nodes: u16,
    groups: u16,
    rng: Rng,
    session: Option<Session>,
    /// Numbers for values.
    next: u32,
    until: Micros,
    /// When [`Rehearser::tick`] wants to be called.
    pub wake_at: Option<Micros>,
}

/// What it acts on.
pub struct Surroundings<'a> {
    /// World time.
    pub now: Micros,
    /// The network.
    pub net: &'a mut Network,
    /// Rare ways that were taken.
    pub marks: &'a mut Marks,
}

impl Rehearser {
    /// One at this host, until so many microseconds.
    pub fn new(host: Host, nodes: u16, groups: u16, rng: Rng, until: Micros) -> Rehearser {
        Rehearser {
            host,
            nodes,
            groups,
            rng,
            session: None,
            next: 0,
            until,
            wake_at: Some(SEC / 2),
        }
    }

    /// Its time has come: begins a session, tells the debugger to go on, or leaves.
    pub fn tick(&mut self, env: &mut Surroundings<'_>) {
        if env.now >= self.until {
            self.wake_at = None;
            return self.leave(env);
        }
        self.wake_at = Some(env.now + self.rng.exponential(150 * MS).max(MS));
        let (act, group) = (self.act(), self.rng.below(u64::from(self.groups)) as u16);
        let Some(session) = &mut self.session else {
            let node = self.rng.below(u64::from(self.nodes)) as u16;
            self.session = Some(Session {
                end: env.net.connect(env.now, self.host, node, CLIENT_PORT),
                group,
                read: Vec::new(),
                begun: false,
                stopped: false,
            });
            return;
        };
        if !session.stopped {
            // The node is down, or the keys are elsewhere.
            return self.leave(env);
        }
        let mut bytes = Vec::new();
        match self.rng.below(12) {
            0 => return self.leave(env),
            1 | 2 => resp::encode_request(&mut bytes, &["continue"]),
            3..=6 => {
                // A command of its own, in the middle of the script.
                let group = session.group;
                let argv = self.commands(group, act).swap_remove(0);
                let mut words = vec![b"redis".to_vec()];
                words.extend(argv);
                resp::encode_request(&mut bytes, &words);
            }
            _ => resp::encode_request(&mut bytes, &["step"]),
        }
        if let Some(session) = &self.session {
            env.net.send(env.now, session.end, &bytes, 0);
        }
    }

    /// News of a connection.
    pub fn on_notice(&mut self, env: &mut Surroundings<'_>, end: EndRef, notice: &Notice) {
        let Some(session) = self.session.as_mut().filter(|session| session.end == end) else {
            if matches!(notice, Notice::Closed { .. }) {
                env.net.close(env.now, end);
            }
            return;
        };
        match notice {
            Notice::Connected => {
                let mut bytes = Vec::new();
                resp::encode_request(&mut bytes, &["SCRIPT", "DEBUG", "YES"]);
                env.net.send(env.now, end, &bytes, 0);
            }
            Notice::Readable => {
                let bytes = env.net.readable(end);
                session.read.extend_from_slice(bytes);
                let len = bytes.len();
                env.net.consume(end, len);
                if !session.begun {
                    return self.begin(env);
                }
                let has = |text: &[u8]| session.read.windows(text.len()).any(|part| part == text);
                let (stopped, ended) = (has(STOPPED), has(ENDED));
                let old = session.read.len().saturating_sub(STOPPED.len() - 1);
                session.read.drain(..old);
                if stopped && !session.stopped {
                    env.marks.hit("rehearsal.begun");
                }
                session.stopped |= stopped;
                if ended {
                    env.marks.hit("rehearsal.ended");
                    self.leave(env);
                }
            }
            Notice::Closed { .. } => self.leave(env),
            Notice::Accepted { .. } | Notice::Writable => {}
        }
    }

    /// Sends the script, once the server has agreed. (It may be loading, say.)
    fn begin(&mut self, env: &mut Surroundings<'_>) {
        let Some(session) = &mut self.session else {
            return;
        };
        let agreed = session.read == b"+OK\r\n";
        if !agreed && b"+OK\r\n".starts_with(&session.read) {
            return;
        }
        if !agreed {
            return self.leave(env);
        }
        session.begun = true;
        let (end, group) = (session.end, session.group);
        let act = self.act();
        let mut bytes = Vec::new();
        resp::encode_request(&mut bytes, &workload::script(&self.commands(group, act)));
        env.net.send(env.now, end, &bytes, 0);
    }

    fn leave(&mut self, env: &mut Surroundings<'_>) {
        if let Some(session) = self.session.take() {
            env.net.close(env.now, session.end);
        }
    }

    fn act(&mut self) -> Act {
        let mut verb = || workload::any_write(&mut self.rng);
        Act::Scripted(verb(), verb(), verb())
    }

    fn commands(&mut self, group: u16, act: Act) -> Vec<crate::model::Argv> {
        self.next += 1;
        let planned = Planned {
            wait_us: 0,
            group,
            act,
            value: self.next,
        };
        workload::commands(&planned, NUMBER, 0)
    }
}
