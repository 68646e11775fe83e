//! Values of any origin: bytes as RESTORE takes them, and then commands on the key.

use super::World;
use crate::command::dataset;
use crate::command::effects::encode;
use crate::config::Config;
use crate::rdb::{self, Value};
use crate::{Address, ConnId, Input, Listener, Now};
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};

/// What is done with the key, if it has become a stream.
const STREAM: &[&str] = &[
    "XLEN k",
    "XINFO STREAM k FULL COUNT 0",
    "XRANGE k - +",
    "XREVRANGE k + -",
    "XRANGE k (5 18446744073709551615-1",
    "XREVRANGE k 10 1-1 COUNT 2",
    "XREAD STREAMS k 0",
    "XREAD COUNT 2 STREAMS k 5-5",
    "XGROUP CREATE k fuzz 0 ENTRIESREAD 3",
    "XREADGROUP GROUP fuzz ann COUNT 3 STREAMS k >",
    "XREADGROUP GROUP fuzz bob NOACK COUNT 1 STREAMS k >",
    "XREADGROUP GROUP g ann STREAMS k >",
    "XREADGROUP GROUP g ann STREAMS k 0",
    "XPENDING k g",
    "XPENDING k g IDLE 5 - + 100",
    "XPENDING k g - + 100 ann",
    "XPENDING k fuzz - + 2",
    "XINFO GROUPS k",
    "XINFO CONSUMERS k g",
    "XDEL k 1-0 2-0 3-0",
    "XAUTOCLAIM k g cat 0 0",
    "XAUTOCLAIM k g cat 0 2 COUNT 1 JUSTID",
    "XCLAIM k g dan 0 1-0 2-0 2-1 FORCE LASTID 2-1",
    "XCLAIM k fuzz dan 0 2-1 RETRYCOUNT 7 JUSTID",
    "XACK k g 1-0 2-0 2-1",
    "XSETID k 18446744073709551000-5",
    "XADD k 18446744073709551001-* field value",
    "XADD k * field value other 12345",
    "XADD k MAXLEN ~ 2 * field value",
    "XADD k MAXLEN 3 18446744073709551614-1 field value",
    "XINFO STREAM k",
    "XTRIM k MINID ~ 2-1",
    "XTRIM k MINID 2-1",
    "XDEL k 2-1",
    "XTRIM k MAXLEN 2",
    "XTRIM k MAXLEN ~ 0 LIMIT 0",
    "XSETID k 18446744073709551615-0 ENTRIESADDED 9223372036854775807 MAXDELETEDID 5-5",
    "XADD k 18446744073709551615-* field value",
    "XGROUP SETID k g $ ENTRIESREAD 9223372036854775807",
    "XGROUP SETID k fuzz 0",
    "XREADGROUP GROUP fuzz ann STREAMS k >",
    "XREADGROUP GROUP g new NOACK STREAMS k >",
    "XGROUP CREATECONSUMER k g eve",
    "XGROUP DELCONSUMER k g ann",
    "XGROUP DELCONSUMER k g bob",
    "XINFO STREAM k FULL",
    "COPY k copy",
    "XTRIM k MAXLEN 0",
    "XGROUP DESTROY k g",
    "XRANGE copy - +",
    "DEL k copy",
];

/// What is done with the key, if it has become a set.
const SET: &[&str] = &[
    "SCARD k",
    "SMEMBERS k",
    "OBJECT ENCODING k",
    "SISMEMBER k a",
    "SMISMEMBER k 1 a -70000 9223372036854775807",
    "SRANDMEMBER k",
    "SRANDMEMBER k 5",
    "SRANDMEMBER k -5",
    "SSCAN k 0",
    "SSCAN k 0 COUNT 3 MATCH *a*",
    "SADD k 1 -70000 9223372036854775807 12",
    "SADD k a b c",
    "COPY k copy",
    "SREM k 1 a",
    "SINTER k copy",
    "SINTERCARD 2 k copy LIMIT 2",
    "SDIFF copy k",
    "SUNION copy k",
    "SINTERSTORE inter k copy",
    "SDIFFSTORE diff copy k inter",
    "SUNIONSTORE union copy diff",
    "SMOVE copy k 1",
    "SMOVE k copy b",
    "SPOP k",
    "SPOP k 3",
    "SADD k far-too-long-for-a-listpack-far-too-long-for-a-listpack-far-too-long",
    "SPOP k 2",
    "SREM k -70000",
    "SSCAN k 0",
    "DEBUG DIGEST-VALUE k copy",
    "SUNIONSTORE k k copy",
    "SPOP k 1000000",
    "DEL copy inter diff union",
];

/// What is done with the key, if it has become a hash.
const HASH: &[&str] = &[
    "HLEN k",
    "HGETALL k",
    "OBJECT ENCODING k",
    "HTTL k FIELDS 2 a b",
    "HPEXPIRETIME k FIELDS 1 a",
    "HRANDFIELD k 3 WITHVALUES",
    "HSCAN k 0",
    "HSCAN k 0 NOVALUES COUNT 1",
    "HGET k a",
    "HINCRBY k n 1",
    "HINCRBYFLOAT k n 0.5",
    "HSETNX k a 1",
    "HPEXPIRE k 4 FIELDS 2 a n",
    "HPEXPIRE k 10 NX FIELDS 2 a b",
    "COPY k copy",
    "HSET k a 1 z 2",
    "HPEXPIRE k 5 LT FIELDS 1 z",
    "HGETEX k PX 2 FIELDS 1 a",
    "HKEYS k",
    "HVALS copy",
    "HGETDEL copy FIELDS 2 a n",
    "HSETEX k FNX EX 10 FIELDS 1 new value",
    "HSETEX k KEEPTTL FIELDS 2 new value a b",
    "HPERSIST k FIELDS 2 new a",
    "HEXPIREAT k 1 FIELDS 1 new",
    "HDEL k a z",
    "HSET k far-too-long-for-a-listpack-far-too-long-for-a-listpack-far-too-long 1",
    "HEXPIRE k 1 FIELDS 2 b c",
    "RENAME k other",
    "HGETALL other",
    "HRANDFIELD other -3",
    "DEBUG DIGEST-VALUE other copy",
    "DEL other copy",
];

/// What is done with the key, if it has become a string.
const STRING: &[&str] = &[
    "STRLEN k",
    "PFCOUNT k",
    "PFDEBUG DECODE k",
    "PFCOUNT k k nosuch",
    "PFADD k a",
    "PFADD k b c d e f g h i j",
    "PFMERGE merged k k",
    "PFCOUNT merged",
    "PFDEBUG TODENSE k",
    "PFADD k k l m",
    "PFMERGE k merged",
    "PFDEBUG GETREG k",
    "PFCOUNT k",
    "BITCOUNT k",
    "BITCOUNT k 1 -2 BIT",
    "BITPOS k 0 1",
    "BITPOS k 1 -5 -1 BIT",
    "BITOP NOT not k",
    "BITOP XOR xor k not merged",
    "BITOP ONE one k not merged",
    "BITFIELD k SET u63 3 5 INCRBY i64 1 -1 GET u7 100 OVERFLOW FAIL INCRBY u2 5 3",
    "BITFIELD_RO k GET i64 0 GET u1 99999",
    "SETBIT k 77 1",
    "GETBIT k 77",
    "LCS k not IDX WITHMATCHLEN MINMATCHLEN 3",
    "LCS k merged LEN",
    "LCS k merged",
    "SETRANGE k 5 HYLL",
    "PFCOUNT k",
    "APPEND k x",
    "SET k v IFEQ w",
    "DELIFEQ k v",
    "DEL k merged not xor one",
];

const LIST: &[&str] = &[
    "LLEN k",
    "LRANGE k 0 -1",
    "LINDEX k -1",
    "LPOS k a RANK -1 COUNT 0",
    "LINSERT k BEFORE 1 new",
    "LSET k 0 other",
    "RPUSH k 7 x",
    "LPUSH k -9223372036854775808",
    "LREM k 0 x",
    "SORT k ALPHA",
    "OBJECT ENCODING k",
    "MEMORY USAGE k",
    "DUMP k",
    "COPY k l",
    "LMOVE k l LEFT RIGHT",
    "LTRIM k 0 -2",
    "RPOPLPUSH k k",
    "LPOP k 3",
    "RPOP k 100000",
    "DEL k l",
];

const ZSET: &[&str] = &[
    "ZCARD k",
    "ZRANGE k 0 -1 WITHSCORES",
    "ZRANGE k -inf +inf BYSCORE REV",
    "ZRANGEBYLEX k - +",
    "ZRANK k a",
    "ZSCORE k 7",
    "ZADD k 1.5 new 7 a",
    "ZINCRBY k 3 a",
    "ZCOUNT k -1 (1e300",
    "ZRANDMEMBER k -3 WITHSCORES",
    "ZSCAN k 0",
    "ZUNIONSTORE l 2 k k AGGREGATE MAX",
    "ZDIFF 2 k l",
    "GEOPOS k a",
    "OBJECT ENCODING k",
    "MEMORY USAGE k",
    "DUMP k",
    "COPY k m",
    "ZREM k a 7",
    "ZPOPMIN k 2",
    "ZREMRANGEBYRANK k 0 -2",
    "ZPOPMAX k 100000",
    "DEL k l m",
];

/// KB-113. Values in the form of RESTORE: what is accepted is in order, and no command on it breaks anything.
pub fn value(data: &[u8]) {
    // Behind a footer that asks for no check, so that the value itself is reached.
    let mut payload = data.to_vec();
    payload.extend_from_slice(&[10, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let Ok(value) = rdb::dump::restore(&payload) else {
        return;
    };
    let commands = match &value {
        Value::Stream(_) => STREAM,
        Value::Set(_) | Value::SetIntset(_) | Value::SetListpack(_) => SET,
        Value::Hash(_) | Value::HashListpack(_) | Value::HashTimed(_) => HASH,
        Value::Str(_) | Value::Int(_) => STRING,
        Value::ZSet(_) | Value::ZSetListpack(_) => ZSET,
        _ => LIST,
    };
    run(value, commands);
}

fn run(value: Value, commands: &[&str]) {
    let mut now = Now {
        mono_us: 1_000_000,
        unix_us: 1_700_000_000_000_000,
    };
    let mut world = World {
        engine: crate::Engine::new(Config::default(), [7; 32], now),
        over: false,
        answered: 0,
        closed: Vec::new(),
    };
    world.settle(now);
    let conn = ConnId::accepted(0, 1);
    let address = || Address::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, 6379)));
    let accepted = Input::Accepted {
        conn,
        listener: Listener::Tcp,
        peer: address(),
        local: address(),
    };
    world.engine.handle(now, accepted);
    world.settle(now);
    let parts = &mut world.engine.parts;
    // As if a replica read it.
    parts.effects.wanted = true;
    let limits = dataset::Limits::new(&parts.config, &parts.store);
    if dataset::insert(&mut parts.store, 0, b"k", None, value, None, 0, &limits).is_err() {
        return;
    }
    for command in commands {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let mut request = Vec::new();
        encode(&mut request, &words);
        let reads = [(conn, &request[..])];
        let mut turn = world.engine.receive(&reads);
        while turn.step(now) {}
        drop(turn);
        now.mono_us += 3000;
        now.unix_us += 3000;
        world.settle(now);
        check(&world.engine);
    }
    world.engine.invariants();
}

/// Checks what the key is against itself.
fn check(engine: &crate::Engine) {
    use crate::store::{Object, ValueRef};
    let store = &engine.parts.store;
    let Some(place) = store.find(0, store.hasher().key(b"k")) else {
        return;
    };
    match store.entry(0, place).value() {
        ValueRef::Object(Object::Hash(hash)) => hash.invariants(),
        ValueRef::Object(Object::Set(set)) => set.invariants(),
        ValueRef::Object(Object::Stream(stream)) => stream.invariants(),
        ValueRef::Object(Object::List(list)) => list.invariants(),
        ValueRef::Object(Object::ZSet(set)) => set.invariants(),
        _ => {}
    }
}
