//! What others see of a command: the keyspace events that it raises, and its effects as a replica gets them.
//!
//! One connection listens to all events, another plays the replica. Before they are asked what they saw, a
//! message of our own goes the same way: what comes after it is not the command's.

use super::run::connect;
use crate::conn::Conn;
use crate::resp::Value;

/// The channel of our own messages.
const MARK: &str = "(the witness's mark)";

/// Who looks on at one server.
pub struct Witness {
    control: Conn,
    listener: Conn,
    replica: Conn,
    /// The database that the stream of effects is in.
    database: Vec<u8>,
    marks: u64,
}

/// What was seen since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Channel and message of each event.
    pub events: Vec<Value>,
    /// The commands, each with its database in front.
    pub effects: Vec<Value>,
}

impl Witness {
    /// Begins to look on.
    ///
    /// # Panics
    /// When the server does not take a replica.
    pub fn attach(port: u16) -> Witness {
        let (mut control, mut listener, mut replica) =
            (connect(port), connect(port), connect(port));
        control.ok("CONFIG SET notify-keyspace-events KEAnm");
        listener.ok("PSUBSCRIBE __key*__:*");
        replica.send(&["PSYNC", "?", "-1"]);
        replica.snapshot();
        let mut witness = Witness {
            control,
            listener,
            replica,
            database: b"0".to_vec(),
            marks: 0,
        };
        witness.mark();
        witness.seen();
        witness
    }

    /// Sends our message after what was done.
    pub fn mark(&mut self) {
        self.marks += 1;
        self.listener.send(&["PING"]);
        self.replica.send(&["REPLCONF", "ACK", "0"]);
        self.control
            .send(&["PUBLISH", MARK, &self.marks.to_string()]);
    }

    /// What was seen up to the mark.
    ///
    /// # Panics
    /// When the mark does not come.
    pub fn seen(&mut self) -> Seen {
        let mut seen = Seen::default();
        self.control.reply();
        loop {
            let event = self.listener.reply().items();
            if event[0].bytes() == b"pong" {
                break;
            }
            seen.events.push(Value::Array(event[2..].to_vec()));
        }
        let mark = self.marks.to_string().into_bytes();
        loop {
            let effect = self.replica.reply().items();
            let is = |at: usize, word: &[u8]| {
                effect
                    .get(at)
                    .is_some_and(|arg| arg.bytes().eq_ignore_ascii_case(word))
            };
            if is(0, b"publish") && is(1, MARK.as_bytes()) {
                if is(2, &mark) {
                    return seen;
                }
            } else if is(0, b"select") {
                self.database = effect[1].bytes().to_vec();
            } else if !is(0, b"ping") {
                let mut words = vec![Value::bulk(&self.database)];
                words.push(Value::bulk(effect[0].bytes().to_ascii_uppercase()));
                words.extend_from_slice(&effect[1..]);
                seen.effects.push(Value::Array(words));
            }
        }
    }
}

/// The first of what was seen that differs, as values to show. With `timed`, keys expired at times of the
/// servers' own choice: such events are left out, and effects not compared. With `unordered`, the order of
/// both is open.
pub fn differ(
    timed: bool,
    unordered: bool,
    mut subject: Seen,
    mut oracle: Seen,
) -> Option<[Value; 2]> {
    if unordered {
        for seen in [&mut subject, &mut oracle] {
            seen.events.sort();
            seen.effects.sort();
        }
    }
    if timed {
        for seen in [&mut subject, &mut oracle] {
            seen.events.retain(|event| !is_expired(event));
            seen.effects.clear();
        }
    }
    let named =
        |what: &str, list: Vec<Value>| Value::Array([vec![Value::simple(what)], list].concat());
    if subject.events != oracle.events {
        let name = "events";
        return Some([named(name, subject.events), named(name, oracle.events)]);
    }
    let same = subject.effects.len() == oracle.effects.len()
        && (subject.effects.iter().zip(&oracle.effects)).all(|(a, b)| same_effect(a, b));
    let name = "effects";
    (!same).then(|| [named(name, subject.effects), named(name, oracle.effects)])
}

fn is_expired(event: &Value) -> bool {
    event
        .items()
        .iter()
        .any(|word| word.bytes() == b"expired" || word.bytes().ends_with(b"__:expired"))
}

/// Equal but for recent times, and for what RESTORE restores: each server has the other's payload.
fn same_effect(subject: &Value, oracle: &Value) -> bool {
    const RECENT: std::ops::Range<i64> = 1_500_000_000_000..9_000_000_000_000;
    let (a, b) = (subject.items(), oracle.items());
    let restores = a.get(1).is_some_and(|name| name.bytes() == b"RESTORE");
    a.len() == b.len()
        && a.iter().zip(&b).enumerate().all(|(at, (a, b))| {
            let near = matches!((a.int(), b.int()), (Some(a), Some(b))
                if RECENT.contains(&a) && RECENT.contains(&b) && a.abs_diff(b) < 60_000);
            a == b || near || (restores && at == 4)
        })
}
