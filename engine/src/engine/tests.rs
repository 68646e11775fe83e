//! What only the whole engine can promise: turns that stay short.

use alloc::vec::Vec;

use super::Engine;
use crate::command::testing::{NOW, conn, engine_with, run};
use crate::config::{Config, ProtectedAction};
use crate::face::{DiskReply, Effect, Input};

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
