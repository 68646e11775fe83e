//! What the clients did and saw, and who answered: the record from which the checkers judge.
//!
//! A *reign* is a stretch of time in which one process was a primary with one line of data. A crash, a promotion
//! or a reload begins a new one, which continues its parent's data up to some point (its [`Fork`]). Reigns form a
//! tree; after a split brain two grow from one.

use crate::model::Argv;
use crate::network::ConnRef;
use crate::resp::Reply;
use crate::time::Micros;
use std::collections::BTreeMap;

/// All that the checkers of client-visible behaviour need.
#[derive(Debug, Default)]
pub struct History {
    /// Operations in order of their invocation.
    pub ops: Vec<Op>,
    /// Reigns in order of their beginning: parents come before children.
    pub reigns: Vec<Reign>,
    /// Where a node stood when it sent the bytes that carry this stamp.
    pub stamps: Vec<Stamp>,
    /// When the server's end of a connection was closed: what was sent on it is not executed later.
    pub deaf: BTreeMap<ConnRef, Micros>,
}

/// One operation: a command, or a transaction, on the keys of one group.
#[derive(Clone, Debug)]
pub struct Op {
    /// Who.
    pub client: u16,
    /// The group of keys, which share a slot.
    pub group: u16,
    /// One command, or those between MULTI and EXEC.
    pub cmds: Vec<Argv>,
    /// How they were sent.
    pub shape: Shape,
    /// When it was first sent.
    pub invoke: Micros,
    /// When its fate was known to the client: the reply, or the connection's end.
    pub ended: Option<Micros>,
    /// How it ended.
    pub outcome: Outcome,
    /// The node that it was last sent to.
    pub node: u16,
    /// The connection that it was last sent on.
    pub conn: Option<ConnRef>,
    /// The stamp of the bytes that held the reply.
    pub stamp: u32,
}

/// How an operation's commands were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Alone.
    Single,
    /// In MULTI … EXEC.
    Transaction,
    /// In a script.
    Script,
    /// In MULTI … EXEC under WATCH of a key, whose value was read after the WATCH.
    Guarded {
        /// The watched key.
        key: Vec<u8>,
        /// What GET said of it.
        seen: Option<Vec<u8>>,
    },
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered; one reply for each command.
    Done(Vec<Reply>),
    /// Not answered yet.
    Pending,
    /// Answered by an error that says that nothing was executed, or aborted by WATCH.
    Refused(Vec<u8>),
    /// The connection ended before the answer: it may have been executed or may not.
    Unknown,
}

/// Where a node stood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Which node.
    pub node: u16,
    /// Its reign, or the last that it had.
    pub reign: u32,
    /// Its replication offset.
    pub offset: u64,
}

/// One process's time as a primary with one line of data.
#[derive(Clone, Debug)]
pub struct Reign {
    /// Who.
    pub node: u16,
    /// From when.
    pub start: Micros,
    /// Until when, if it is over.
    pub end: Option<Micros>,
    /// Whose data it continues; `None` began empty.
    pub parent: Option<(u32, Fork)>,
    /// Reigns whose data the node's files may still hold besides, or instead: it followed others before, and what its
    /// files have of them may be older than what it held last. They matter where the fork is [`Fork::Anything`].
    pub held: Vec<u32>,
}

/// How much of the parent's data a reign continues: which acknowledged operations it may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// Any: the disk was emptied or replaced by an older image, or the policy promises nothing.
    Anything,
    /// All: it keeps no files.
    Everything,
    /// None.
    Nothing,
    /// Those answered when the parent's offset was beyond this.
    Offset(u64),
    /// Those answered after this moment.
    Time(Micros),
}

impl Fork {
    /// Whether an operation with this end and this stamp may be missing.
    pub fn may_lose(self, ended: Micros, stamp: Stamp) -> bool {
        match self {
            Fork::Anything | Fork::Everything => true,
            Fork::Nothing => false,
            Fork::Offset(offset) => stamp.offset > offset,
            Fork::Time(moment) => ended > moment,
        }
    }
}

impl History {
    /// Adds a stamp unless it is the same as the last; its number.
    pub fn stamp(&mut self, stamp: Stamp) -> u32 {
        if self.stamps.last() != Some(&stamp) {
            self.stamps.push(stamp);
        }
        self.stamps.len() as u32 - 1
    }

    /// The reign that answered an operation. An answer of a node that was no primary any more says nothing about when
    /// it was executed, and its reads may be stale.
    pub fn answered_in(&self, op: &Op) -> Option<usize> {
        let stamp = match op.outcome {
            Outcome::Done(_) => self.stamps.get(op.stamp as usize)?,
            _ => return None,
        };
        let reign = stamp.reign as usize;
        (reign < self.reigns.len()).then_some(reign)
    }

    /// The moment after which an operation cannot be executed any more.
    pub fn due(&self, op: &Op) -> Micros {
        match self.answered_in(op) {
            Some(_) => op.ended.unwrap_or(Micros::MAX),
            None => op
                .conn
                .and_then(|conn| self.deaf.get(&conn).copied())
                .unwrap_or(Micros::MAX),
        }
    }

    /// The reigns in which an operation may have been executed.
    pub fn reigns_of<'a>(&'a self, op: &'a Op) -> impl Iterator<Item = usize> + 'a {
        let answered = self.answered_in(op);
        let due = self.due(op);
        let overlaps = move |reign: &Reign| {
            reign.node == op.node
                && reign.start <= due
                && reign.end.is_none_or(|end| end >= op.invoke)
        };
        (0..self.reigns.len()).filter(move |&index| match answered {
            Some(reign) => reign == index,
            None => overlaps(&self.reigns[index]),
        })
    }
}

impl Op {
    /// One line for a story.
    pub fn describe(&self) -> String {
        let text = |bytes: &[u8]| {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
            if bytes.len() > 40 {
                format!("{shown}…({} bytes)", bytes.len())
            } else {
                shown
            }
        };
        let line = |argv: &Argv| {
            argv.iter()
                .map(|arg| text(arg))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let cmds = self.cmds.iter().map(line).collect::<Vec<_>>().join("; ");
        let shape = match &self.shape {
            Shape::Single => String::new(),
            Shape::Script => "EVAL ".into(),
            Shape::Transaction => "MULTI ".into(),
            Shape::Guarded { key, seen } => {
                let seen = seen.as_deref().map_or("nil".into(), text);
                format!("WATCH {}={seen} MULTI ", text(key))
            }
        };
        let outcome = match &self.outcome {
            Outcome::Done(replies) => replies.iter().map(show).collect::<Vec<_>>().join("; "),
            Outcome::Pending => "(pending)".into(),
            Outcome::Refused(why) => format!("(refused: {})", text(why)),
            Outcome::Unknown => "(unknown)".into(),
        };
        let ended = self.ended.map_or("…".into(), |at| at.to_string());
        format!(
            "[{} .. {ended}] c{} → n{}: {shape}{cmds} → {outcome}",
            self.invoke, self.client, self.node
        )
    }
}

fn show(reply: &Reply) -> String {
    match reply {
        Reply::Nil => "nil".into(),
        Reply::Int(n) => n.to_string(),
        Reply::Bulk(text) | Reply::Simple(text) | Reply::Error(text) => {
            let shown = String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned();
            if text.len() > 40 {
                format!("{shown}…({} bytes)", text.len())
            } else {
                shown
            }
        }
        Reply::Array(items) | Reply::Push(items) => {
            format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" "))
        }
    }
}
