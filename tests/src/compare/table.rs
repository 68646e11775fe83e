//! What COMMAND DOCS does not say about commands: how far their replies may differ.

/// How two replies are compared, once neither is an error (errors must be equal, byte for byte).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Equal; maps and sets of RESP3 in any order.
    Exact,
    /// Lists of four of which the third is an idle time; all else is equal.
    Idle,
    /// Equal but for the values of these fields of maps (in RESP2: flat lists of pairs), at
    /// every depth.
    Masked(&'static [&'static str]),
    /// Integers (also within lists) at most this far apart: for times.
    Near(i64),
    /// A flat list of pairs (RESP2), in any order.
    Pairs,
    /// The outcome of chance: the same type and length.
    Random,
    /// A cursor and elements: the whole iteration is compared, as a set.
    Scan,
    /// Only the type of the reply.
    Type,
    /// Equal but for Unix times in milliseconds, which may be some seconds apart.
    Times,
    /// A list in any order, at every depth.
    Unordered,
}

/// Commands whose replies are not compared exactly, and why in a word.
pub const POLICIES: &[(&str, Policy)] = &[
    ("acl|genpass", Policy::Random),                // chance
    ("acl|cat", Policy::Unordered),                 // order of a table
    ("acl|getuser", Policy::Masked(&["commands"])), // described by what commands there are
    ("acl|log", Policy::Type),                      // ages
    ("client|id", Policy::Type),                    // counts all connections
    ("client|info", Policy::Type),                  // addresses, ages
    ("client|list", Policy::Type),
    ("command|info", Policy::Unordered), // flags are a set
    ("config|get", Policy::Pairs),
    ("dump", Policy::Type), // order within a hash table; see `script::DUMPED`
    ("hello", Policy::Masked(&["id", "version"])),
    ("hgetall", Policy::Pairs),
    ("hkeys", Policy::Unordered),
    ("hrandfield", Policy::Random),
    ("hscan", Policy::Scan),
    ("hvals", Policy::Unordered),
    ("info", Policy::Type), // see tests/server.rs
    ("keys", Policy::Unordered),
    ("lastsave", Policy::Near(3600)),
    ("lolwut", Policy::Type),
    ("memory|usage", Policy::Type), // another memory layout
    ("object|idletime", Policy::Near(1)),
    ("pexpiretime", Policy::Near(2_000)),
    ("expiretime", Policy::Near(2)),
    ("pttl", Policy::Near(2_000)),
    ("pubsub|channels", Policy::Unordered),
    ("randomkey", Policy::Random),
    ("role", Policy::Near(1 << 40)), // its replica came at another offset
    ("scan", Policy::Scan),
    ("sdiff", Policy::Unordered),
    ("sinter", Policy::Unordered),
    ("smembers", Policy::Unordered),
    ("spop", Policy::Random), // the set is deleted afterwards: see `run::Pair`
    ("srandmember", Policy::Random),
    ("sscan", Policy::Scan),
    ("sunion", Policy::Unordered),
    ("time", Policy::Type),
    ("ttl", Policy::Near(1)),
    ("xinfo|consumers", Policy::Masked(&["idle"])),
    ("xinfo|stream", Policy::Times), // times of delivery
    ("xpending", Policy::Idle),
    ("zrandmember", Policy::Random),
    ("zscan", Policy::Scan),
];

/// How the replies of a command (`get`, `config|set`) are compared.
pub fn policy(command: &str) -> Policy {
    POLICIES
        .iter()
        .find(|(name, _)| *name == command)
        .map_or(Policy::Exact, |(_, policy)| *policy)
}

/// Commands that no script contains, and why. A name ending in `|` stands for all subcommands, one
/// beginning with `|` for that subcommand of all containers.
pub const EXCUSED: &[(&str, &str)] = &[
    ("|help", "prose of our own"),
    (
        "acl|list",
        "the words for permissions differ with the commands there are",
    ),
    ("acl|load", "needs a file"),
    ("acl|save", "needs a file"),
    ("bgrewriteaof", "in the background: tests/persistence.rs"),
    ("bgsave", "in the background: tests/persistence.rs"),
    ("client|caching", "sends messages out of turn"),
    ("client|kill", "the connections' numbers differ"),
    ("client|pause", "holds up the comparison itself"),
    ("client|reply", "no reply to compare: tests/protocol.rs"),
    ("client|tracking", "sends messages out of turn"),
    ("client|trackinginfo", "as client|tracking"),
    ("cluster|", "tests/cluster.rs"),
    (
        "command",
        "a list of all commands: tests/server.rs compares each",
    ),
    ("command|count", "as command"),
    (
        "command|docs",
        "prose of our own; engine/src/command/docs compares the trees",
    ),
    ("command|list", "as command"),
    (
        "config|rewrite",
        "writes over the file that the server was started with",
    ),
    ("debug", "for tests: each has its own words"),
    ("eval", "needs programs, which the grammar cannot make"),
    ("eval_ro", "as eval"),
    ("evalsha", "as eval"),
    ("evalsha_ro", "as eval"),
    ("failover", "tests/replication.rs"),
    ("fcall", "as eval"),
    ("fcall_ro", "as eval"),
    ("function|", "as eval"),
    ("latency|", "durations"),
    ("memory|doctor", "prose of our own"),
    ("memory|malloc-stats", "another allocator"),
    ("memory|purge", "another allocator"),
    ("memory|stats", "another memory layout"),
    ("migrate", "needs a third server"),
    ("module|", "Reprise loads no modules"),
    ("monitor", "sends lines out of turn: tests/server.rs"),
    ("pfdebug", "the inside of Redis's implementation"),
    ("pfselftest", "the inside of Redis's implementation"),
    ("psubscribe", "sends messages out of turn"),
    ("psync", "tests/replication.rs"),
    ("punsubscribe", "as psubscribe"),
    ("replconf", "tests/replication.rs"),
    ("replicaof", "tests/replication.rs"),
    ("save", "tests/persistence.rs"),
    ("script|", "as eval"),
    ("shutdown", "ends the comparison"),
    ("slaveof", "as replicaof"),
    ("slowlog|", "durations"),
    ("ssubscribe", "as psubscribe"),
    ("subscribe", "as psubscribe"),
    ("sunsubscribe", "as psubscribe"),
    ("sync", "tests/replication.rs"),
    ("unsubscribe", "as psubscribe"),
];

/// Why a command is left out, if it is.
pub fn excuse(command: &str) -> Option<&'static str> {
    let matches = |pattern: &str| match (pattern.strip_suffix('|'), pattern.starts_with('|')) {
        (Some(container), _) => command
            .split_once('|')
            .is_some_and(|(first, _)| first == container),
        (None, true) => command.ends_with(pattern),
        (None, false) => command == pattern,
    };
    EXCUSED
        .iter()
        .find(|(pattern, _)| matches(pattern))
        .map(|(_, why)| *why)
}

/// Commands that end what a script has built up: drawn a twentieth as often as others.
pub const RARE: &[&str] = &[
    "client|no-evict",
    "flushall",
    "flushdb",
    "hello",
    "quit",
    "reset",
    "swapdb",
    "wait",
    "acl|genpass",
    "acl|log",
    "pubsub|",
    "lolwut",
];
