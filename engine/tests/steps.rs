//! Values of any size go in steps: whatever way a large value is lost, no turn and no tick frees more than some
//! thousand allocations, and in the end all are.
//!
//! What is counted is what costs the time: calls to the allocator's `free`, on this thread.

#![allow(unsafe_code)] // An allocator can be made in no other way. It only counts, and calls the system's.

use core::net::SocketAddr;
use reprise_engine::config::Config;
use reprise_engine::{
    Address, ConnId, DiskError, DiskErrorKind, DiskReply, DiskRequest, Effect, Engine, Input,
    Listener, Now,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static FREED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is the system allocator's, with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let _ = FREED.try_with(|freed| freed.set(freed.get() + 1));
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls to `free` while something is done.
fn freed_by(what: impl FnOnce()) -> usize {
    let before = FREED.get();
    what();
    FREED.get() - before
}

/// Elements of a large value.
const ELEMENTS: usize = 120_000;

/// What a turn or tick may free: a step, and what any command frees for itself.
const STEP: usize = 1500;

struct World {
    engine: Engine,
    now: Now,
}

impl World {
    fn new(config: Config) -> World {
        let now = Now {
            mono_us: 1_000_000,
            unix_us: 1_700_000_000_000_000,
        };
        let mut world = World {
            engine: Engine::new(config, [3; 32], now),
            now,
        };
        let address = || Address::Ip(SocketAddr::from(([127, 0, 0, 1], 1)));
        world.engine.handle(
            now,
            Input::Accepted {
                conn: conn(),
                listener: Listener::Tcp,
                peer: address(),
                local: address(),
            },
        );
        world.drain();
        world
    }

    /// Answers the disk, which is empty; and takes all output.
    fn drain(&mut self) -> Vec<u8> {
        while let Some(effect) = self.engine.poll_effect() {
            let Effect::Disk { op, request } = effect else {
                continue;
            };
            let result = match request {
                DiskRequest::Open { .. } => Err(DiskError {
                    kind: DiskErrorKind::NotFound,
                    written: 0,
                    message: String::new(),
                }),
                DiskRequest::List { .. } => Ok(DiskReply::Names(Vec::new())),
                _ => Ok(DiskReply::Done),
            };
            self.engine.handle(self.now, Input::Disk { op, result });
        }
        while self.engine.poll_output().is_some() {}
        let bytes: Vec<u8> = self.engine.output(conn()).flatten().copied().collect();
        self.engine.sent(conn(), bytes.len());
        bytes
    }

    fn send(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        let reads = [(conn(), &request[..])];
        let mut turn = self.engine.receive(&reads);
        while turn.step(self.now) {}
        drop(turn);
        self.drain()
    }

    fn run(&mut self, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        String::from_utf8_lossy(&self.send(&words)).into_owned()
    }

    /// Time passes up to the next deadline, or a millisecond.
    fn tick(&mut self) {
        self.now.mono_us += 1000;
        self.now.unix_us += 1000;
        self.engine.handle(self.now, Input::Tick);
        self.drain();
    }

    fn info(&mut self, field: &str) -> u64 {
        let info = self.run("INFO everything");
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse().ok())
            .unwrap_or_else(|| panic!("no {field}"))
    }

    /// Makes a large value.
    fn fill(&mut self, key: &str, kind: &str) {
        let (command, head, each): (&str, &[&str], &dyn Fn(usize) -> Vec<String>) = match kind {
            "hash" => ("HSET", &[], &|n| {
                vec![format!("field {n}"), format!("value {n}")]
            }),
            "timed hash" => ("HSET", &[], &|n| {
                vec![format!("field {n}"), format!("value {n}")]
            }),
            "list" => ("RPUSH", &[], &|n| {
                vec![format!("element {n} of a long list of many elements")]
            }),
            "set" => ("SADD", &[], &|n| vec![format!("member {n}")]),
            "stream" => ("XADD", &["*"], &|n| {
                vec![format!("field {n}"), format!("value {n}")]
            }),
            "zset" => ("ZADD", &[], &|n| {
                vec![format!("{n}.5"), format!("member {n}")]
            }),
            _ => unreachable!("a type"),
        };
        let each_call = if kind == "stream" { 2 } else { 1000 };
        for call in 0..ELEMENTS / 1000 {
            let numbers = (0..each_call).map(|n| call * each_call + n);
            let mut words = vec![command.to_owned(), key.to_owned()];
            words.extend(head.iter().map(|&word| word.to_owned()));
            words.extend(numbers.flat_map(each));
            let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
            let repeat = if kind == "stream" { 300 } else { 1 };
            for _ in 0..repeat {
                self.send(&words);
            }
            if kind == "timed hash" {
                let fields: Vec<String> = (0..1000)
                    .map(|n| format!("field {}", call * 1000 + n))
                    .collect();
                let mut words: Vec<&[u8]> = vec![
                    b"HPEXPIRE",
                    key.as_bytes(),
                    b"100000000",
                    b"FIELDS",
                    b"1000",
                ];
                words.extend(fields.iter().map(String::as_bytes));
                self.send(&words);
            }
        }
    }
}

fn conn() -> ConnId {
    ConnId::accepted(0, 0)
}

/// Ways to lose what is at `big`; those that begin with `@` are not commands.
const WAYS: [&str; 17] = [
    "DEL big",
    "UNLINK big",
    "FLUSHALL",
    "FLUSHDB SYNC",
    "FLUSHALL ASYNC",
    "RENAME small big",
    "SET big v",
    "MSET big v",
    "SETEX big 10 v",
    "COPY small big REPLACE",
    "SUNIONSTORE big small",
    "SUNIONSTORE big none",
    "SORT list STORE big",
    "ZUNIONSTORE big 1 scores",
    "@expire",
    "@evict",
    "@restore",
];

fn loses(world: &mut World, kind: &str, way: &str) {
    world.run("FLUSHALL");
    while world.info("lazyfree_pending_objects") > 0 {
        world.tick();
    }
    world.run("SADD small a b");
    world.run("RPUSH list 3 1 2");
    world.run("ZADD scores 1 a");
    world.fill("big", kind);
    world.run("CONFIG RESETSTAT");
    let at_once = match way {
        "@expire" => {
            world.run("PEXPIRE big 20");
            let mut most = 0;
            while world.run("EXISTS big") == ":1\r\n" {
                most = most.max(freed_by(|| world.tick()));
            }
            most
        }
        "@evict" => {
            world.run("CONFIG SET maxmemory 300000 maxmemory-policy allkeys-random");
            let mut most = 0;
            while world.run("EXISTS big") == ":1\r\n" {
                most = most.max(freed_by(|| drop(world.run("SET other v"))));
            }
            world.run("CONFIG SET maxmemory 0");
            most
        }
        "@restore" => {
            let reply = world.send(&[b"DUMP", b"small"]);
            let start = reply
                .iter()
                .position(|&b| b == b'\n')
                .map_or(0, |at| at + 1);
            let payload = &reply[start..reply.len() - 2];
            let words = [&b"RESTORE"[..], b"big", b"0", payload, b"REPLACE"];
            let mut reply = Vec::new();
            let freed = freed_by(|| reply = world.send(&words));
            assert_eq!(reply, b"+OK\r\n");
            freed
        }
        command => freed_by(|| drop(world.run(command))),
    };
    assert!(at_once < STEP, "{way} of a {kind} frees {at_once} at once");
    let (mut all, mut ticks) = (at_once, 0);
    while world.info("lazyfree_pending_objects") > 0 {
        let freed = freed_by(|| world.tick());
        assert!(freed < STEP, "{way} of a {kind}: a tick frees {freed}");
        (all, ticks) = (all + freed, ticks + 1);
        assert!(ticks < 10_000, "{way} of a {kind}: it never ends");
    }
    assert!(all > 500, "{way} of a {kind}: only {all} were freed");
    assert!(world.info("lazyfreed_objects") > 0, "{way} of a {kind}");
}

fn loses_in_all_ways(kind: &str) {
    let mut world = World::new(Config::default());
    for way in WAYS {
        loses(&mut world, kind, way);
    }
}

#[test]
fn large_hashes_go_in_steps() {
    loses_in_all_ways("hash");
}

#[test]
fn large_hashes_with_times_go_in_steps() {
    loses_in_all_ways("timed hash");
}

#[test]
fn large_lists_go_in_steps() {
    loses_in_all_ways("list");
}

#[test]
fn large_sets_go_in_steps() {
    loses_in_all_ways("set");
}

#[test]
fn large_streams_go_in_steps() {
    loses_in_all_ways("stream");
}

#[test]
fn large_zsets_go_in_steps() {
    loses_in_all_ways("zset");
}

/// A million keys of which each has a deadline: neither they nor the index of their times go at once.
#[test]
fn many_small_keys_go_in_steps() {
    let mut world = World::new(Config::default());
    for n in 0..200_000 {
        world.run(&format!("SET key:{n} value PX 100000000"));
    }
    let at_once = freed_by(|| drop(world.run("FLUSHALL")));
    assert!(at_once < STEP, "FLUSHALL frees {at_once} at once");
    let mut all = at_once;
    while world.info("lazyfree_pending_objects") > 0 {
        let freed = freed_by(|| world.tick());
        assert!(freed < STEP, "a tick frees {freed}");
        all += freed;
    }
    assert!(all > 200_000, "only {all} were freed");
}
