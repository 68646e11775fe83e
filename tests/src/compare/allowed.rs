//! The differences that are meant. Each has a reason; without one it is a bug.

use crate::resp::Value;

/// One difference that is not reported.
pub struct Allowed {
    /// The command's name, lower case (`config|get`).
    pub command: &'static str,
    /// Why it is right that the replies differ.
    pub why: &'static str,
    /// Whether the difference is this one.
    pub is: fn(args: &[Vec<u8>], subject: &Value, oracle: &Value) -> bool,
}

/// All of them.
pub const ALLOWED: &[Allowed] = &[
    Allowed {
        command: "acl|cat",
        why: "a category has the commands of later versions, too (SCRIPT SHOW, WAITAOF, HEXPIRE, …)",
        is: |args, subject, oracle| match (subject, oracle) {
            (Value::Array(ours), Value::Array(theirs)) => {
                args.len() == 3 && theirs.iter().all(|name| ours.contains(name))
            }
            _ => false,
        },
    },
    Allowed {
        command: "bitfield",
        why: "Redis 7.0 makes the string as long as it must be before an overflow fails, and does not tell its replicas",
        is: |args, subject, oracle| {
            args.iter().any(|arg| arg.eq_ignore_ascii_case(b"FAIL"))
                && *oracle == Value::Array(vec![Value::simple("effects")])
                && matches!(subject, Value::Array(effects) if effects.len() == 2)
        },
    },
    Allowed {
        command: "object|refcount",
        why: "Redis shares one object for each of the numbers below 10,000 and counts its references; here every entry owns its value",
        is: |_, subject, oracle| {
            *subject == Value::Int(1) && matches!(oracle, Value::Int(n) if *n > 1)
        },
    },
    Allowed {
        command: "object|encoding",
        why: "small sets of strings are listpacks, as in Redis 7.2: 7.0 knows intsets and tables only",
        is: |_, subject, oracle| {
            *subject == Value::bulk("listpack") && *oracle == Value::bulk("hashtable")
        },
    },
    Allowed {
        command: "xread",
        why: "`+`, the last entry, is of Redis 7.4",
        is: |args, _, oracle| {
            args.iter().any(|arg| arg == b"+")
                && *oracle
                    == Value::error("ERR Invalid stream ID specified as stream command argument")
        },
    },
    Allowed {
        command: "object|idletime",
        why: "the objects that Redis shares for numbers below 10,000 share their time of last use too, which a write of such a number does not renew",
        is: |_, subject, oracle| matches!((subject, oracle), (Value::Int(ours), Value::Int(theirs)) if ours < theirs),
    },
    Allowed {
        command: "sort",
        why: "elements that the wanted order does not tell apart come as a table, or an unstable sort, leaves them",
        is: orderless_sort,
    },
    Allowed {
        command: "sort_ro",
        why: "as SORT",
        is: orderless_sort,
    },
];

/// Both replies are as long, and the order was left open: BY something that is the same for all, or by texts.
fn orderless_sort(args: &[Vec<u8>], subject: &Value, oracle: &Value) -> bool {
    let at = |word: &[u8]| args.iter().position(|arg| arg.eq_ignore_ascii_case(word));
    let by = at(b"by").and_then(|at| args.get(at + 1));
    let orderless = by.is_some_and(|by| {
        at(b"alpha").is_some() || by.split(|b| *b == 0).next() == Some(by) && !by.contains(&b'*')
    });
    orderless
        && matches!((subject, oracle), (Value::Array(a), Value::Array(b)) if a.len() == b.len())
}

/// Whether a difference is meant.
pub fn is_allowed(command: &str, args: &[Vec<u8>], subject: &Value, oracle: &Value) -> bool {
    ALLOWED
        .iter()
        .any(|allowed| allowed.command == command && (allowed.is)(args, subject, oracle))
}
