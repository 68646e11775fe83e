//! What one operation can make of a state, given what its client saw.

use super::Step;
use crate::history::{Outcome, Shape};
use crate::model::{Keyspace, Ripeness, Value, Window, canonical, keys_of};
use crate::resp::Reply;

/// The states to which an operation leads from `state` if it explains what the client saw.
pub(super) fn outcomes(step: &Step<'_>, state: &Keyspace) -> Vec<Keyspace> {
    let mut results = Vec::new();
    let mut doubtful: Vec<&[u8]> = Vec::new();
    let mut base = state.clone();
    let watched = match &step.op.shape {
        Shape::Guarded { key, .. } => Some(key.as_slice()),
        _ => None,
    };
    for key in step
        .op
        .cmds
        .iter()
        .flat_map(|argv| keys_of(argv))
        .chain(watched)
    {
        match state.ripe(key, step.during) {
            Ripeness::Alive => {}
            Ripeness::Gone => base.expire(key),
            Ripeness::Either if !doubtful.contains(&key) => doubtful.push(key),
            Ripeness::Either => {}
        }
    }
    for choice in 0..1u32 << doubtful.len() {
        let mut next = base.clone();
        for (index, key) in doubtful.iter().enumerate() {
            if choice >> index & 1 == 1 {
                next.expire(key);
            }
        }
        if let Shape::Guarded { key, seen } = &step.op.shape {
            let now = next.execute(&[b"GET".to_vec(), key.clone()], step.during, None);
            if now != seen.clone().map_or(Reply::Nil, Reply::Bulk) {
                continue;
            }
        }
        let replies = match &step.op.outcome {
            Outcome::Done(replies) => Some(replies),
            _ => None,
        };
        if replies.is_none() && step.op.cmds[0][0] == b"SPOP" {
            // Nobody saw which member was popped: it may have been any.
            results.extend(each_pop(&step.op.cmds[0], &next, step.during));
            continue;
        }
        let fits = step.op.cmds.iter().enumerate().all(|(index, argv)| {
            let seen = replies.and_then(|replies| replies.get(index));
            let expected = next.execute(argv, step.during, seen);
            seen.is_none_or(|seen| agree(argv, &expected, seen))
        });
        if fits && !results.contains(&next) {
            results.push(next);
        }
    }
    results
}

fn each_pop(argv: &[Vec<u8>], state: &Keyspace, during: Window) -> Vec<Keyspace> {
    let Some(Value::Set(members)) = state.value(&argv[1]) else {
        return Vec::new();
    };
    let pop = |member: &Vec<u8>| {
        let mut next = state.clone();
        next.execute(argv, during, Some(&Reply::Bulk(member.clone())));
        next
    };
    members.iter().map(pop).collect()
}

/// Whether no key of the operation may have expired or not.
pub(super) fn certain(step: &Step<'_>, state: &Keyspace) -> bool {
    let mut keys = step.op.cmds.iter().flat_map(|argv| keys_of(argv));
    keys.all(|key| state.ripe(key, step.during) == Ripeness::Alive)
}

pub(super) fn agree(argv: &[Vec<u8>], expected: &Reply, seen: &Reply) -> bool {
    match (expected, seen) {
        (Reply::Error(_), Reply::Error(_)) => expected.error_code() == seen.error_code(),
        _ => canonical(argv, expected) == canonical(argv, seen),
    }
}

/// Whether a command changes nothing.
pub fn reads_only(argv: &[Vec<u8>]) -> bool {
    let reads: [&[u8]; 9] = [
        b"GET",
        b"GETBIT",
        b"STRLEN",
        b"EXISTS",
        b"HGETALL",
        b"LRANGE",
        b"SMEMBERS",
        b"XRANGE",
        b"ZRANGE",
    ];
    reads.iter().any(|name| argv[0].eq_ignore_ascii_case(name))
}

pub(super) fn show(state: &Keyspace) -> String {
    let text = state.iter().map(|(key, value, deadline)| {
        let value: String = format!("{}", ShowValue(value)).chars().take(120).collect();
        let key = String::from_utf8_lossy(key);
        deadline.map_or(format!("{key}={value}"), |at| {
            format!("{key}={value} until {}..{}", at.earliest, at.latest)
        })
    });
    text.collect::<Vec<_>>().join(", ")
}

struct ShowValue<'a>(&'a Value);

impl std::fmt::Display for ShowValue<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let items: Vec<String> = match self.0 {
            Value::Hash(hash) => hash
                .iter()
                .map(|(k, v)| format!("{}:{}", text(k), text(v)))
                .collect(),
            Value::List(list) => list.iter().map(text).collect(),
            Value::Set(set) => set.iter().map(text).collect(),
            Value::Stream(entries, last) => entries
                .iter()
                .map(|(id, value)| format!("{}-{}:{}", id.0, id.1, text(value)))
                .chain([format!("last {}-{}", last.0, last.1)])
                .collect(),
            Value::Str(string) => return write!(f, "{:?}", text(string)),
            Value::Zset(scores) => scores
                .iter()
                .map(|(k, v)| format!("{}:{v}", text(k)))
                .collect(),
        };
        write!(f, "[{}]", items.join(" "))
    }
}
