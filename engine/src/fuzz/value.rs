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

/// Values in the form of RESTORE: what is accepted is in order, and no command on it breaks anything.
pub fn value(data: &[u8]) {
    // Behind a footer that asks for no check, so that the value itself is reached.
    let mut payload = data.to_vec();
    payload.extend_from_slice(&[10, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let Ok(value) = rdb::dump::restore(&payload) else {
        return;
    };
    let commands = match &value {
        Value::Stream(_) => STREAM,
        _ => return,
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
    if dataset::insert(&mut parts.store, 0, b"k", value, None, 0, &limits).is_err() {
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
        if let Some(stream) = stream_at(&world.engine) {
            stream.invariants();
        }
    }
    world.engine.invariants();
}

/// The stream that the key is.
fn stream_at(engine: &crate::Engine) -> Option<&crate::value::stream::Stream> {
    use crate::store::{Collection, ValueRef};
    let store = &engine.parts.store;
    let place = store.find(0, store.hasher().key(b"k"))?;
    match store.entry(0, place).value() {
        ValueRef::Object(object) => Collection::of(object).map(|stream| &**stream),
        _ => None,
    }
}
