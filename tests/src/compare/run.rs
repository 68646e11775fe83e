//! Runs a script on both servers, step by step, and compares.

use super::policy::agree;
use super::script::{Script, Step};
use super::table::{self, Policy};
use super::witness::{self, Witness};
use super::{Difference, allowed, pool};
use crate::conn::Conn;
use crate::resp::Value;
use crate::wait::pass;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

/// Longer than [`pool::SHORT_MS`].
const EXPIRY: Duration = Duration::from_millis(25);

/// A reply that takes longer counts as none.
const PATIENCE: Duration = Duration::from_secs(3);

/// The subject and the oracle.
pub struct Pair {
    ports: [u16; 2],
    /// Who looks on, if anybody.
    witnesses: RefCell<Option<[Witness; 2]>>,
}

/// One server during one script.
struct Side {
    port: u16,
    protocol: u8,
    conns: Vec<Conn>,
    dumped: Vec<u8>,
}

impl Pair {
    /// Servers on this machine.
    pub fn new(subject: u16, oracle: u16) -> Pair {
        Pair {
            ports: [subject, oracle],
            witnesses: RefCell::new(None),
        }
    }

    /// Has events and effects compared, too.
    #[must_use]
    pub fn witnessed(self) -> Pair {
        self.witnesses
            .replace(Some(self.ports.map(Witness::attach)));
        self
    }

    /// What others see that differs since the last time.
    fn witness(&self, timed: bool, unordered: bool) -> Option<[Value; 2]> {
        let mut witnesses = self.witnesses.borrow_mut();
        let witnesses = witnesses.as_mut()?;
        witnesses.iter_mut().for_each(Witness::mark);
        let [subject, oracle] = witnesses.each_mut().map(Witness::seen);
        witness::differ(timed, unordered, subject, oracle)
    }

    /// A connection to the subject.
    pub fn subject(&self) -> Conn {
        connect(self.ports[0])
    }

    /// A connection to the oracle.
    pub fn oracle(&self) -> Conn {
        connect(self.ports[1])
    }

    /// Runs a script on empty servers; the first difference that is not allowed ends it.
    pub fn run(&self, script: &Script) -> Option<Difference> {
        let mut sides = self.ports.map(|port| Side::begin(port, script));
        // The policies of the commands queued by MULTI, for EXEC's replies.
        let mut queued: [Vec<Queued>; 2] = [Vec::new(), Vec::new()];
        let mut in_multi = [false; 2];
        let timed = script.is_timed();
        self.witness(timed, false);
        for (at, step) in script.steps.iter().enumerate() {
            let (conn, args) = match step {
                Step::Command { conn, args, .. } => (conn, args),
                Step::Expire => {
                    pass(EXPIRY);
                    if !script.lazy {
                        sides.iter_mut().for_each(Side::bury);
                    }
                    self.witness(timed, false);
                    continue;
                }
                Step::Audit => match audits_differ(sides.each_ref().map(Side::audit)) {
                    Some([subject, oracle]) => {
                        return Some(Difference {
                            step: at,
                            subject,
                            oracle,
                        });
                    }
                    None => continue,
                },
            };
            let name = command_name(args);
            if table::excuse(&name).is_some()
                || shows_everything(&name, args)
                || stores_ties(&name, args)
                || limits_ourselves(&name, args)
                || (name == "spop" && in_multi[*conn])
                || (script.lazy && matches!(name.as_str(), "randomkey" | "dbsize"))
            {
                continue; // spoiling or shrinking made another command of it
            }
            let policy = match table::policy(&name) {
                // Only the cursor 0 means the same on both.
                Policy::Scan
                    if args
                        .get(cursor_at(&name))
                        .is_none_or(|cursor| cursor != b"0") =>
                {
                    Policy::Type
                }
                policy => policy,
            };
            if name == "dbsize" {
                // Redis counts expired keys until it happens on them.
                sides.iter_mut().for_each(Side::bury);
            }
            let [subject, oracle] = &mut sides;
            let theirs = [oracle.dumped.clone(), subject.dumped.clone()];
            subject.send(*conn, args, &theirs[0]);
            oracle.send(*conn, args, &theirs[1]);
            let mut replies = [subject.reply(*conn), oracle.reply(*conn)];
            if replies
                .iter()
                .any(|reply| *reply == Value::simple("QUEUED"))
            {
                let policy = if name == "dbsize" {
                    Policy::Type
                } else {
                    policy
                };
                queued[*conn].push((policy, name.clone(), args.clone()));
            } else if policy == Policy::Scan {
                replies = [
                    subject.iterate(*conn, args, &replies[0]),
                    oracle.iterate(*conn, args, &replies[1]),
                ];
            }
            // (Where the replies may differ, so may what others see.)
            let mut meant = match name.as_str() {
                "spop" => true,                                // what it takes is left to chance
                "xread" => args.iter().any(|arg| arg == b"+"), // where it fails
                _ => false,
            };
            let same = match (name.as_str(), &replies) {
                ("exec", [Value::Array(a), Value::Array(b)]) => {
                    let rows = std::mem::take(&mut queued[*conn]);
                    a.len() == b.len()
                        && a.len() == rows.len()
                        && rows
                            .iter()
                            .zip(a.iter().zip(b))
                            .all(|((policy, name, args), (a, b))| {
                                agree(*policy, a, b) || {
                                    meant = true;
                                    allowed::is_allowed(name, args, a, b)
                                }
                            })
                }
                (_, [a, b]) => {
                    if matches!(
                        name.as_str(),
                        "exec" | "discard" | "multi" | "reset" | "quit"
                    ) && !a.is_error()
                    {
                        queued[*conn].clear();
                    }
                    agree(policy, a, b) || {
                        meant = true;
                        allowed::is_allowed(&name, args, a, b)
                    }
                }
            };
            let [a, b] = replies;
            if !same {
                return Some(Difference {
                    step: at,
                    subject: a,
                    oracle: b,
                });
            }
            // These go through a table in its own order.
            let unordered = matches!(name.as_str(), "keys" | "scan" | "sort" | "sort_ro" | "exec");
            if let (Some([subject, oracle]), false) = (self.witness(timed, unordered), meant) {
                return Some(Difference {
                    step: at,
                    subject,
                    oracle,
                });
            }
            match name.as_str() {
                "multi" => in_multi[*conn] |= !a.is_error(),
                "exec" | "discard" | "reset" | "quit" => in_multi[*conn] = false,
                // What was taken was left to chance, and so is what is left.
                "spop" if args.len() > 1 && !a.is_error() => {
                    for side in [&mut *subject, &mut *oracle] {
                        side.send(*conn, &[b"DEL".to_vec(), args[1].clone()], b"");
                        side.reply(*conn);
                    }
                    self.witness(timed, false);
                }
                _ => {}
            }
            if name == "dump" {
                subject.dumped = a.bytes().to_vec();
                oracle.dumped = b.bytes().to_vec();
            }
        }
        None
    }
}

/// A command that waits for EXEC: how to compare its reply, its name, and all of it.
type Queued = (Policy, String, Vec<Vec<u8>>);

/// One look of an audit: how to compare it, what it is, and the reply.
type Found = (Policy, String, Value);

/// The first two looks that differ, with what they are.
fn audits_differ([subject, oracle]: [Vec<Found>; 2]) -> Option<[Value; 2]> {
    let named = |(_, what, value): Found| Value::Array(vec![Value::simple(&what), value]);
    for (a, b) in subject.into_iter().zip(oracle) {
        let meant = a.1.starts_with("OBJECT ENCODING")
            && allowed::is_allowed("object|encoding", &[], &a.2, &b.2);
        if a.1 != b.1 || !(agree(a.0, &a.2, &b.2) || meant) {
            return Some([named(a), named(b)]);
        }
    }
    None
}

pub(super) fn connect(port: u16) -> Conn {
    let mut conn = Conn::open(port)
        .unwrap_or_else(|error| panic!("the server on port {port} is gone: {error}"));
    conn.patience = PATIENCE;
    conn
}

/// Where the cursor stands in a command of the SCAN family.
fn cursor_at(name: &str) -> usize {
    if name == "scan" { 1 } else { 2 }
}

/// CONFIG GET of everything, where ports and directories differ; COMMAND INFO of all commands.
fn shows_everything(name: &str, args: &[Vec<u8>]) -> bool {
    match name {
        "command|info" => args.len() == 2,
        "config|get" => args.iter().any(|arg| arg.starts_with(b"*")),
        _ => false,
    }
}

/// SORT by texts of other keys, stored: the order of elements whose texts are equal is Redis's own affair.
fn stores_ties(name: &str, args: &[Vec<u8>]) -> bool {
    let has = |word: &[u8]| args.iter().any(|arg| arg.eq_ignore_ascii_case(word));
    name == "sort" && has(b"by") && has(b"alpha") && has(b"store")
}

/// What would keep the comparison itself out.
fn limits_ourselves(name: &str, args: &[Vec<u8>]) -> bool {
    name == "acl|setuser" && args.iter().any(|arg| arg == b"default")
}

/// `get`, `config|set`: what a command is called in the tables.
fn command_name(args: &[Vec<u8>]) -> String {
    const CONTAINERS: &[&str] = &[
        "acl", "client", "cluster", "command", "config", "function", "latency", "memory", "module",
        "object", "pubsub", "script", "slowlog", "xgroup", "xinfo",
    ];
    let word = |at: usize| {
        args.get(at)
            .map(|arg| String::from_utf8_lossy(arg).to_lowercase())
    };
    let first = word(0).unwrap_or_default();
    match word(1) {
        Some(second) if CONTAINERS.contains(&first.as_str()) => format!("{first}|{second}"),
        _ => first,
    }
}

impl Side {
    fn begin(port: u16, script: &Script) -> Side {
        let mut control = connect(port);
        control.send(&["FLUSHALL"]);
        for (name, value) in pool::DEFAULTS {
            control.send(&["CONFIG", "SET", name, value]);
        }
        for _ in 0..=pool::DEFAULTS.len() {
            control.reply();
        }
        let active = if script.lazy { "0" } else { "1" };
        control.cmd(&["DEBUG", "SET-ACTIVE-EXPIRE", active]);
        let users = control.cmd(&["ACL", "USERS"]).items();
        for user in users.iter().filter(|user| user.bytes() != b"default") {
            let words: [&[u8]; 3] = [b"ACL", b"DELUSER", user.bytes()];
            control.cmd(&words);
        }
        let mut side = Side {
            port,
            protocol: script.protocol,
            conns: Vec::new(),
            dumped: Vec::new(),
        };
        side.conns = vec![side.connect(), side.connect()];
        side
    }

    fn connect(&self) -> Conn {
        let mut conn = connect(self.port);
        if self.protocol == 3 {
            conn.cmd(&["HELLO", "3"]);
        }
        conn
    }

    fn send(&mut self, conn: usize, args: &[Vec<u8>], dumped: &[u8]) {
        if self.conns[conn].is_closed() {
            self.conns[conn] = self.connect();
        }
        let args: Vec<&[u8]> = args
            .iter()
            .map(|arg| if arg == pool::DUMPED { dumped } else { arg })
            .collect();
        self.conns[conn].send(&args);
    }

    fn reply(&mut self, conn: usize) -> Value {
        match self.conns[conn].try_reply(PATIENCE) {
            Ok(Some(value)) => value,
            Ok(None) => {
                self.conns[conn] = self.connect();
                Value::error("(no reply)")
            }
            Err(fault) => Value::error(&format!("(not RESP: {fault})")),
        }
    }

    /// Continues a SCAN until its cursor is 0 and answers with the set of all that it returned.
    fn iterate(&mut self, conn: usize, args: &[Vec<u8>], first: &Value) -> Value {
        const CALLS: usize = 10_000;
        let mut found = BTreeSet::new();
        let mut reply = first.clone();
        let name = command_name(args);
        let at = cursor_at(&name);
        let pairs = matches!(name.as_str(), "hscan" | "zscan");
        for _ in 0..CALLS {
            let Value::Array(parts) = &reply else {
                return reply;
            };
            let [cursor, items] = parts.as_slice() else {
                return reply;
            };
            let items = items.items();
            match pairs {
                true => found.extend(items.chunks(2).map(|pair| Value::Array(pair.to_vec()))),
                false => found.extend(items),
            }
            if cursor.bytes() == b"0" {
                return Value::Set(found.into_iter().collect());
            }
            let mut args = args.to_vec();
            args[at] = cursor.bytes().to_vec();
            self.send(conn, &args, b"");
            reply = self.reply(conn);
        }
        Value::error("(the iteration does not end)")
    }

    /// What each database holds, as commands with their replies.
    fn audit(&self) -> Vec<Found> {
        let mut control = connect(self.port);
        let mut found = Vec::new();
        for database in pool::DATABASES {
            control.cmd(&["SELECT", database]);
            let mut keys = control.cmd(&["KEYS", "*"]).items();
            keys.sort();
            found.push((
                Policy::Exact,
                format!("KEYS in database {database}"),
                Value::Array(keys.clone()),
            ));
            for key in &keys {
                let kind = control.cmd(&[b"TYPE", key.bytes()]).text();
                let read: (&str, &[&str]) = match kind.as_str() {
                    "hash" => ("HGETALL", &[]),
                    "list" => ("LRANGE", &["0", "-1"]),
                    "set" => ("SMEMBERS", &[]),
                    "stream" => ("XINFO STREAM", &["FULL", "COUNT", "0"]),
                    "zset" => ("ZRANGE", &["0", "-1", "WITHSCORES"]),
                    _ => ("GET", &[]),
                };
                for (command, rest) in [("PTTL", &[][..]), ("OBJECT ENCODING", &[]), read] {
                    let mut args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
                    args.push(key.bytes());
                    args.extend(rest.iter().map(|word| word.as_bytes()));
                    let policy = table::policy(&command.to_lowercase().replace(' ', "|"));
                    found.push((
                        policy,
                        format!("{command} {key:?} in database {database}"),
                        control.cmd(&args),
                    ));
                }
            }
        }
        found
    }

    /// Has the server notice which keys are gone, so that DBSIZE counts them no more.
    fn bury(&mut self) {
        let mut control = connect(self.port);
        for database in pool::DATABASES {
            control.send(&["SELECT", database]);
            control.send(&["SCAN", "0", "COUNT", "1000000"]);
            control.reply();
            control.reply();
        }
    }
}
