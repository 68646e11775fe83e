//! What the clients do: operations drawn per seed, as plain data, so that a failing run can be cut down.

use crate::model::{Argv, keys_of};
use crate::rng::Rng;
use crate::time::{MS, SEC};

/// One operation of a client's plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Pause before it, in microseconds.
    pub wait_us: u32,
    /// The group of keys that it touches.
    pub group: u16,
    /// What to do.
    pub act: Act,
    /// A number of its own, from which its values are made.
    pub value: u32,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Read every key of the group in one transaction.
    Audit,
    /// Send bytes that are no request, on a connection of their own (CLI-7).
    Garbage,
    /// WATCH a string, read it, and write if it did not change.
    Guarded(Verb, Verb),
    /// Send a command, or a part of it, and hang up (CLI-3).
    Hangup(Verb),
    /// A transaction.
    Many(Verb, Verb, Verb),
    /// One command.
    One(Verb),
    /// Several commands in a script.
    Scripted(Verb, Verb, Verb),
}

/// The commands of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the command of its name; see `argv`")]
pub enum Verb {
    Append,
    BLMove,
    BLPop,
    DecrBy,
    Del,
    Exists,
    Get,
    GetBit,
    GetCounter,
    GetDel,
    HDel,
    HGetAll,
    HIncrBy,
    HSet,
    Incr,
    LMove,
    LPop,
    LPush,
    LRange,
    LTrim,
    MSet,
    PExpire,
    Persist,
    Rename,
    RPop,
    RPush,
    SAdd,
    Set,
    SetBit,
    SetGet,
    SetNx,
    SetPx,
    SMembers,
    SMove,
    SPop,
    SRem,
    Strlen,
    SUnionStore,
    Unlink,
    XAdd,
    XDel,
    XRange,
    ZAdd,
    ZIncrBy,
    ZPopMin,
    ZRange,
    ZRem,
}

use Verb::*;

const WRITES: [Verb; 34] = [
    Append,
    DecrBy,
    Del,
    GetDel,
    HDel,
    HIncrBy,
    HSet,
    Incr,
    LMove,
    LPop,
    LPush,
    LTrim,
    MSet,
    PExpire,
    Persist,
    Rename,
    RPop,
    RPush,
    SAdd,
    Set,
    SetBit,
    SetGet,
    SetNx,
    SetPx,
    SMove,
    SRem,
    SUnionStore,
    Unlink,
    XAdd,
    XDel,
    ZAdd,
    ZIncrBy,
    ZPopMin,
    ZRem,
];
const READS: [Verb; 10] = [
    Exists, Get, GetBit, GetCounter, HGetAll, LRange, SMembers, Strlen, XRange, ZRange,
];
const AUDIT: [&str; 10] = [
    "GET s0",
    "GET s1",
    "GET n",
    "HGETALL h",
    "LRANGE l 0 -1",
    "LRANGE m 0 -1",
    "SMEMBERS t",
    "SMEMBERS u",
    "XRANGE x - +",
    "ZRANGE z 0 -1 WITHSCORES",
];
const KEYS: [&str; 10] = ["s0", "s1", "n", "h", "l", "m", "t", "u", "x", "z"];

/// What kinds of operations a seed's clients do.
#[derive(Clone, Debug)]
pub struct Mix {
    /// Groups of keys; each group's keys share a slot.
    pub groups: u16,
    /// Of a thousand operations so many are reads.
    pub reads: u64,
    /// Of a thousand operations so many are transactions.
    pub transactions: u64,
    /// Of a thousand operations so many hang up or send garbage.
    pub rude: u64,
    /// Of a thousand transactions so many are scripts.
    pub scripts: u64,
    /// Of a thousand operations that take from a list so many wait for what they take.
    pub waits: u64,
    /// Whether deadlines are set.
    pub expiry: bool,
    /// Length of the occasional large value, in bytes.
    pub large: u32,
    /// Mean pause between operations, in microseconds.
    pub think_us: u64,
    /// Whether the servers know a command.
    pub known: fn(&str) -> bool,
}

impl Mix {
    /// Draws a client's plan. Each client works on its own few groups, shared with two others: enough contention to
    /// matter, little enough for the search of the linearisability checker.
    pub fn plan(&self, rng: &mut Rng, client: u16, count: usize) -> Vec<Planned> {
        let shared = 3.min(self.groups);
        (0..count as u32)
            .map(|value| {
                let step = (rng.below(u64::from(shared)) as u16) * 2;
                let group = (client * 2 + step) % self.groups;
                let wait_us = rng.exponential(self.think_us) as u32;
                Planned {
                    wait_us,
                    group,
                    act: self.act(rng),
                    value,
                }
            })
            .collect()
    }

    /// Has some of the operations sent in another manner: in a script, or as the command that waits.
    pub fn vary(&self, rng: &mut Rng, plan: &mut [Planned]) {
        let waiting = |verb: &mut Verb, rng: &mut Rng| match *verb {
            LPop if rng.chance(self.waits) => *verb = BLPop,
            LMove if rng.chance(self.waits) => *verb = BLMove,
            _ => {}
        };
        for planned in plan {
            match &mut planned.act {
                Act::Many(a, b, c) if rng.chance(self.scripts) => {
                    planned.act = Act::Scripted(*a, *b, *c);
                }
                Act::One(verb) | Act::Hangup(verb) => waiting(verb, rng),
                _ => {}
            }
        }
    }

    fn act(&self, rng: &mut Rng) -> Act {
        if rng.chance(self.rude) {
            return if rng.chance(300) {
                Act::Garbage
            } else {
                Act::Hangup(self.write(rng))
            };
        }
        if rng.chance(self.transactions) {
            return match rng.below(5) {
                0 => Act::Audit,
                1 => Act::Guarded(Set, self.write(rng)),
                _ => Act::Many(self.write(rng), self.any(rng), self.write(rng)),
            };
        }
        if rng.chance(20) && (self.known)("spop") {
            Act::One(SPop)
        } else {
            Act::One(self.any(rng))
        }
    }

    fn any(&self, rng: &mut Rng) -> Verb {
        if !rng.chance(self.reads) {
            return self.write(rng);
        }
        let verb = *rng.pick(&READS);
        if (self.known)(&verb.name()) {
            verb
        } else {
            Get
        }
    }

    fn write(&self, rng: &mut Rng) -> Verb {
        match *rng.pick(&WRITES) {
            SetPx | PExpire if !self.expiry => Set,
            verb if (self.known)(&verb.name()) => verb,
            _ => Append,
        }
    }
}

impl Verb {
    fn name(self) -> String {
        String::from_utf8_lossy(&argv(self, 0, 0, 0, 0)[0]).to_ascii_lowercase()
    }
}

/// A group's common part of its keys: they share a slot.
pub fn tag(group: u16) -> String {
    format!("{{g{group}}}")
}

/// The slot of a group's keys.
pub fn slot(group: u16) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(format!("g{group}").as_bytes()) % 16384
}

/// The commands of one operation. `Guarded` yields those after the WATCH; its key is [`guarded_key`].
pub fn commands(planned: &Planned, client: u16, large: u32) -> Vec<Argv> {
    let verbs: &[Verb] = match &planned.act {
        Act::Audit => return audit(planned.group),
        Act::Garbage => return Vec::new(),
        Act::Guarded(a, b) => &[*a, *b],
        Act::Hangup(a) | Act::One(a) => &[*a],
        Act::Many(a, b, c) | Act::Scripted(a, b, c) => &[*a, *b, *c],
    };
    (0..)
        .zip(verbs)
        .map(|(index, verb)| {
            argv(
                *verb,
                planned.group,
                client,
                planned.value * 4 + index,
                large,
            )
        })
        .collect()
}

/// The reads of [`Act::Audit`].
pub fn audit(group: u16) -> Vec<Argv> {
    let line = |line: &&str| {
        let words = line.split(' ').enumerate();
        let word = |(index, word): (usize, &str)| match index {
            1 => format!("{}{word}", tag(group)).into_bytes(),
            _ => word.as_bytes().to_vec(),
        };
        words.map(word).collect()
    };
    let known = |line: &&&str| crate::node::knows(line.split(' ').next().unwrap_or_default());
    AUDIT.iter().filter(known).map(line).collect()
}

/// Carries out the commands in its arguments (each after the number of its words), and returns their replies. What says
/// that nothing was executed is its reply alone.
const SCRIPT: &str = "local replies, i = {}, 1 \
    while i <= #ARGV do \
      local command = {} \
      for j = 1, tonumber(ARGV[i]) do command[j] = ARGV[i + j] end \
      i = i + #command + 1 \
      local reply = redis.pcall(unpack(command)) \
      if type(reply) == 'table' and reply.err and not string.find(reply.err, '^WRONGTYPE') \
        and not string.find(reply.err, '^ERR no such key') and not string.find(reply.err, '^ERR The ID') then \
        return reply \
      end \
      replies[#replies + 1] = reply \
    end \
    return replies";

/// Commands as one EVAL.
pub fn script(commands: &[Argv]) -> Argv {
    let mut keys: Vec<&[u8]> = Vec::new();
    for key in commands.iter().flat_map(|argv| keys_of(argv)) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let mut eval = words(&["EVAL", SCRIPT, &keys.len().to_string()]);
    eval.extend(keys.into_iter().map(<[u8]>::to_vec));
    for argv in commands {
        eval.push(argv.len().to_string().into_bytes());
        eval.extend(argv.iter().cloned());
    }
    eval
}

/// Some command that writes, and that the servers know.
pub fn any_write(rng: &mut Rng) -> Verb {
    match *rng.pick(&WRITES) {
        verb if crate::node::knows(&verb.name()) => verb,
        _ => Append,
    }
}

/// The key that [`Act::Guarded`] watches and writes.
pub fn guarded_key(planned: &Planned) -> Vec<u8> {
    format!("{}s{}", tag(planned.group), planned.value * 4 % 2).into_bytes()
}

fn argv(verb: Verb, group: u16, client: u16, value: u32, large: u32) -> Argv {
    let key = |name: &str| format!("{}{name}", tag(group));
    let string = key(["s0", "s1"][value as usize % 2]);
    let any = key(KEYS[value as usize / 4 % KEYS.len()]);
    let mut unique = format!("{client}.{value}");
    let few = format!("f{}", value / 4 % 5);
    if large > 0 && value / 4 % 29 == 7 {
        unique.extend(std::iter::repeat_n('x', large as usize));
    }
    let small = (value / 4 % 9 + 1).to_string();
    let lifetime = (u64::from(value / 4 % 11) * 400 * MS / MS + 50).to_string();
    let long = (u64::from(value / 4 % 40) * SEC / MS + 100).to_string();
    let patience = format!("0.{:02}", value / 4 % 40 + 1);
    let words: Vec<&str> = match verb {
        Append => vec!["APPEND", &string, &unique],
        BLMove => {
            return words(&["BLMOVE", &key("l"), &key("m"), "LEFT", "RIGHT", &patience]);
        }
        BLPop => return words(&["BLPOP", &key("l"), &patience]),
        DecrBy => return words(&["DECRBY", &key("n"), &small]),
        Del => vec!["DEL", &any],
        Exists => vec!["EXISTS", &any],
        Get => vec!["GET", &string],
        GetBit => vec!["GETBIT", &string, &small],
        GetCounter => return words(&["GET", &key("n")]),
        GetDel => vec!["GETDEL", &string],
        HDel => return words(&["HDEL", &key("h"), &few]),
        HGetAll => return words(&["HGETALL", &key("h")]),
        HIncrBy => return words(&["HINCRBY", &key("h"), "count", &small]),
        HSet => return words(&["HSET", &key("h"), &few, &unique]),
        Incr => return words(&["INCR", &key("n")]),
        LMove => return words(&["LMOVE", &key("l"), &key("m"), "LEFT", "RIGHT"]),
        LPop => return words(&["LPOP", &key("l")]),
        LPush => return words(&["LPUSH", &key("l"), &unique]),
        LRange => return words(&["LRANGE", &key("l"), "0", "-1"]),
        LTrim => return words(&["LTRIM", &key("l"), "0", &small]),
        MSet => return words(&["MSET", &key("s0"), &unique, &key("s1"), &unique]),
        PExpire => vec!["PEXPIRE", &any, &long],
        Persist => vec!["PERSIST", &any],
        Rename => return words(&["RENAME", &key("s0"), &key("s1")]),
        RPop => return words(&["RPOP", &key("l")]),
        RPush => return words(&["RPUSH", &key("l"), &unique]),
        SAdd => return words(&["SADD", &key("t"), &unique, &few]),
        Set => vec!["SET", &string, &unique],
        SetBit => vec![
            "SETBIT",
            &string,
            &small,
            ["0", "1"][value as usize / 8 % 2],
        ],
        SetGet => vec!["SET", &string, &unique, "GET"],
        SetNx => vec!["SET", &string, &unique, "NX"],
        SetPx => vec!["SET", &string, &unique, "PX", &lifetime],
        SMembers => return words(&["SMEMBERS", &key("t")]),
        SMove => return words(&["SMOVE", &key("t"), &key("u"), &few]),
        SPop => return words(&["SPOP", &key("t")]),
        SRem => return words(&["SREM", &key("t"), &few]),
        Strlen => vec!["STRLEN", &string],
        SUnionStore => return words(&["SUNIONSTORE", &key("u"), &key("t"), &key("u")]),
        Unlink => vec!["UNLINK", &any],
        XAdd => {
            return words(&[
                "XADD",
                &key("x"),
                &format!("{value}-{client}"),
                "f",
                &unique,
            ]);
        }
        XDel => {
            let old = value / 4 / 2 * 4;
            return words(&["XDEL", &key("x"), &format!("{old}-{client}")]);
        }
        XRange => return words(&["XRANGE", &key("x"), "-", "+"]),
        ZAdd => return words(&["ZADD", &key("z"), &small, &few]),
        ZIncrBy => return words(&["ZINCRBY", &key("z"), &small, &few]),
        ZPopMin => return words(&["ZPOPMIN", &key("z")]),
        ZRem => return words(&["ZREM", &key("z"), &few]),
        ZRange => return words(&["ZRANGE", &key("z"), "0", "-1", "WITHSCORES"]),
    };
    self::words(&words)
}

fn words(words: &[&str]) -> Argv {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Keyspace, Window};

    fn mix() -> Mix {
        Mix {
            groups: 8,
            reads: 300,
            transactions: 200,
            rude: 20,
            scripts: 500,
            waits: 500,
            expiry: true,
            large: 0,
            think_us: 1000,
            known: |_| true,
        }
    }

    #[test]
    fn the_model_knows_every_command_of_every_plan_and_no_type_clashes() {
        let mut space = Keyspace::default();
        for seed in 0..40 {
            let mut plan = mix().plan(&mut Rng::from_state(seed), seed as u16, 200);
            mix().vary(&mut Rng::from_state(seed), &mut plan);
            for planned in plan {
                for argv in commands(&planned, 0, 0) {
                    let reply = space.execute(&argv, Window::at(0), None);
                    let code = reply.error_code().map(<[u8]>::to_vec);
                    let may = [&b"RENAME"[..], b"XADD"].contains(&&argv[0][..]);
                    assert!(code.is_none() || may, "{argv:?} {reply:?}");
                }
            }
        }
    }

    #[test]
    fn groups_share_a_slot_and_are_shared_by_few_clients() {
        assert_eq!(
            slot(0),
            crc16::State::<crc16::XMODEM>::calculate(b"g0") % 16384
        );
        let plan = mix().plan(&mut Rng::from_state(1), 1, 500);
        let mut groups: Vec<u16> = plan.iter().map(|planned| planned.group).collect();
        groups.sort();
        groups.dedup();
        assert_eq!(groups, [2, 4, 6]);
        let planned = Planned {
            wait_us: 0,
            group: 3,
            act: Act::Guarded(Set, Incr),
            value: 5,
        };
        assert_eq!(guarded_key(&planned), commands(&planned, 0, 0)[0][1]);
    }
}
