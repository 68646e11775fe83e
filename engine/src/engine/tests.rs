//! What only the whole engine can promise: turns that stay short.

mod files;
mod loading;
mod migration;
mod node;
mod propagation;
mod replica;
mod snapshots;

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::Engine;
use super::brake::Brake;
use crate::command::testing::{NOW, after_ms, conn, engine, engine_with, run, run_at};
use crate::config::{Config, ProtectedAction};
use crate::face::{DiskReply, Effect, Input, Now};
use crate::store::Object;

/// Does what a runtime does in a turn, with a network that takes everything at once. Bytes that were sent.
fn carry_out(engine: &mut Engine) -> usize {
    let mut sent = 0;
    loop {
        let mut idle = true;
        let mut answers = Vec::new();
        while let Some(effect) = engine.poll_effect() {
            idle = false;
            if let Effect::Disk { op, .. } = effect {
                answers.push(op);
            }
        }
        while let Some(conn) = engine.poll_output() {
            idle = false;
            let len = engine.output(conn).map(<[u8]>::len).sum();
            engine.sent(conn, len);
            sent += len;
        }
        for op in answers {
            let result = Ok(DiskReply::Done);
            engine.handle(NOW, Input::Disk { op, result });
        }
        if idle {
            return sent;
        }
    }
}

#[test]
fn a_fast_replica_does_not_make_a_turn_long() {
    let mut engine = engine_with(Config {
        enable_debug_command: ProtectedAction::Yes,
        repl_diskless_sync_delay: 0,
        rdbcompression: false,
        ..Config::default()
    });
    run(&mut engine, "DEBUG POPULATE 20000 key 100");
    run(&mut engine, "REPLCONF capa eof capa psync2");
    let reads = [(conn(), &b"PSYNC ? -1\r\n"[..])];
    let mut turn = engine.receive(&reads);
    while turn.step(NOW) {}
    drop(turn);
    let (mut total, mut turns) = (0, 0);
    while engine.snapshot_under_way() || turns == 0 {
        let sent = carry_out(&mut engine);
        assert!(sent < 100_000, "{sent} bytes in one turn");
        if engine.snapshot_under_way() {
            assert_eq!(engine.deadline(), Some(0), "more is at hand");
        }
        total += sent;
        turns += 1;
        engine.handle(NOW, Input::Tick);
    }
    total += carry_out(&mut engine);
    assert!(total > 2_000_000, "{total} bytes in {turns} turns");
    assert!(total / turns < 100_000);
}

/// How many milliseconds a BGSAVE of three keys takes when somebody looks every 100 ms, and `orders` are given after the
/// first of them.
fn save_takes_ms(delay: &str, orders: &str) -> u64 {
    let mut engine = engine();
    run(&mut engine, "MSET a 1 b 2 c 3");
    run(
        &mut engine,
        &format!("CONFIG SET rdb-key-save-delay {delay}"),
    );
    run(&mut engine, "BGSAVE");
    for ms in (0..).step_by(100) {
        let info = run_at(&mut engine, after_ms(ms), "INFO persistence");
        if info.contains("rdb_bgsave_in_progress:0") {
            return ms;
        }
        run_at(&mut engine, after_ms(ms), orders);
    }
    0
}

#[test]
fn a_test_can_brake_a_save_and_let_go_again() {
    assert!(save_takes_ms("0", "PING") <= 500);
    assert!((3000..3600).contains(&save_takes_ms("1000000", "PING")));
    assert!(save_takes_ms("1000000", "CONFIG SET rdb-key-save-delay 0") <= 600);
    assert!(save_takes_ms("-1000", "PING") <= 1000);
}

#[test]
fn less_than_a_microsecond_a_key_adds_up() {
    let mut brake = Brake::default();
    let late = |us| Now {
        mono_us: NOW.mono_us + us,
        ..NOW
    };
    for _ in 0..3000 {
        brake.pull(NOW, -10, 1);
    }
    assert!(brake.holds(late(299), -10) && !brake.holds(late(300), -10));
    assert!(!brake.holds(NOW, 0));
}

/// What is answered to bytes that arrive in these pieces.
fn answers(engine: &mut Engine, pieces: &[&[u8]]) -> Vec<u8> {
    for piece in pieces {
        let reads = [(conn(), *piece)];
        let mut turn = engine.receive(&reads);
        while turn.step(NOW) {}
    }
    while engine.poll_effect().is_some() {}
    let mut sent = Vec::new();
    while let Some(conn) = engine.poll_output() {
        let before = sent.len();
        engine
            .output(conn)
            .for_each(|bytes| sent.extend_from_slice(bytes));
        engine.sent(conn, sent.len() - before);
    }
    sent
}

/// Bytes of the string at `key`, and for how many there is room where it is.
fn long_string(engine: &Engine, key: &str) -> (Vec<u8>, usize) {
    let store = &engine.parts.store;
    match store.object(0, store.hasher().key(key.as_bytes())) {
        Some(Object::Str(text)) => (text.to_vec(), text.capacity()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_long_word_becomes_a_string_where_it_was_read() {
    let mut engine = engine();
    run(&mut engine, "PING");
    let value: Vec<u8> = (0..3_000_000u32).map(|n| (n / 999) as u8).collect();
    let head = format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n${}\r\n", value.len());
    let request = [head.as_bytes(), &value, b"\r\n"].concat();
    let pieces: Vec<&[u8]> = request.chunks(60_000).collect();
    assert_eq!(answers(&mut engine, &pieces), b"+OK\r\n");
    assert_eq!(long_string(&engine, "key"), (value.clone(), request.len()));
    // It is a string like any other, and stays one when others are read.
    let more = b"*3\r\n$6\r\nAPPEND\r\n$3\r\nkey\r\n$4\r\nmore\r\n*4\r\n$8\r\nSETRANGE\r\n$3\r\nkey\r\n$1\r\n0\r\n$1\r\nx\r\n";
    assert_eq!(answers(&mut engine, &[more]), b":3000004\r\n:3000004\r\n");
    let mut model = [&value[..], b"more"].concat();
    model[0] = b'x';
    assert_eq!(long_string(&engine, "key").0, model);
    // What is not all that was read is copied: the rest has its own use.
    let both = [&request[..], b"*2\r\n$6\r\nSTRLEN\r\n$3\r\nkey\r\n"].concat();
    let pieces: Vec<&[u8]> = both.chunks(60_000).collect();
    assert_eq!(answers(&mut engine, &pieces), b"+OK\r\n:3000000\r\n");
    assert_eq!(long_string(&engine, "key"), (value.clone(), value.len()));
    // Nor is a word kept for a key that is as long.
    let key = vec![b'k'; 400_000];
    let head = format!("*3\r\n$3\r\nSET\r\n${}\r\n", key.len());
    let (key, value) = (&key[..], &value[..400_000]);
    let request = [head.as_bytes(), key, b"\r\n$400000\r\n", value, b"\r\n"].concat();
    let pieces: Vec<&[u8]> = request.chunks(60_000).collect();
    assert_eq!(answers(&mut engine, &pieces), b"+OK\r\n");
    let key = core::str::from_utf8(key).unwrap();
    assert_eq!(long_string(&engine, key), (value.to_vec(), value.len()));
}
