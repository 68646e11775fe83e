//! Histories with and without an explanation.

use super::*;
use crate::history::{Reign, Stamp};
use crate::network::ConnRef;
use crate::resp::Reply;

fn argv(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|arg| arg.as_bytes().to_vec()).collect()
}

fn reply(text: &str) -> Reply {
    match text {
        "nil" => Reply::Nil,
        "OK" => Reply::ok(),
        _ => text
            .strip_prefix(':')
            .map_or(Reply::bulk(text), |n| Reply::Int(n.parse().unwrap())),
    }
}

/// `invoke..end command → reply`, `?` for an unknown outcome; `;` between the commands of a transaction.
fn op(reign: u32, line: &str) -> (u32, Op) {
    let (times, rest) = line.split_once(' ').unwrap();
    let (invoke, ended) = times.split_once("..").unwrap();
    let (cmds, seen) = rest.split_once(" → ").unwrap();
    let cmds: Vec<_> = cmds.split("; ").map(argv).collect();
    let outcome = match seen {
        "?" => Outcome::Unknown,
        _ => Outcome::Done(seen.split("; ").map(reply).collect()),
    };
    let shape = if cmds.len() > 1 {
        Shape::Transaction
    } else {
        Shape::Single
    };
    let op = Op {
        client: 0,
        group: 0,
        cmds,
        shape,
        invoke: invoke.parse().unwrap(),
        ended: ended.parse().ok(),
        outcome,
        node: 0,
        conn: None,
        stamp: 0,
    };
    (reign, op)
}

fn history(forks: &[Fork], lines: &[(u32, &str)]) -> History {
    let mut history = History::default();
    for reign in 0..=forks.len() {
        let parent = reign
            .checked_sub(1)
            .map(|index| (index as u32, forks[index]));
        let start = reign as u64 * 1000;
        let end = (reign < forks.len()).then_some(start + 999);
        history.reigns.push(Reign {
            node: 0,
            start,
            end,
            parent,
            held: Vec::new(),
        });
    }
    for &(reign, line) in lines {
        let (reign, mut op) = op(reign, line);
        let offset = op.ended.unwrap_or(0);
        // A connection lives as long as the process that it leads to.
        let conn = ConnRef::for_test(reign);
        op.conn = Some(conn);
        if let Some(end) = history.reigns[reign as usize].end {
            history.deaf.insert(conn, end);
        }
        op.stamp = history.stamp(Stamp {
            node: 0,
            reign,
            offset,
        });
        history.ops.push(op);
    }
    history
}

fn holds(forks: &[Fork], lines: &[(u32, &str)]) -> bool {
    let limits = Limits {
        clock_slack_us: 0,
        ..Limits::default()
    };
    let verdict = check(&history(forks, lines), limits);
    assert_eq!(verdict.undecided, 0);
    verdict.violations.is_empty()
}

#[test]
fn a_register_read_must_see_the_last_write_or_a_concurrent_one() {
    assert!(holds(
        &[],
        &[(0, "1..2 SET a x → OK"), (0, "3..4 GET a → x")]
    ));
    assert!(!holds(
        &[],
        &[(0, "1..2 SET a x → OK"), (0, "3..4 GET a → nil")]
    ));
    assert!(holds(
        &[],
        &[(0, "1..5 SET a x → OK"), (0, "2..4 GET a → nil")]
    ));
    // Two readers must agree on the order.
    let split = [
        (0, "1..9 SET a x → OK"),
        (0, "1..9 SET a y → OK"),
        (0, "10..11 GET a → x"),
        (0, "12..13 GET a → y"),
    ];
    assert!(!holds(&[], &split));
}

#[test]
fn an_unknown_write_happens_at_most_once_and_may_happen_late() {
    let lost = [(0, "1..2 INCR n → ?"), (0, "3..4 GET n → nil")];
    assert!(holds(&[], &lost));
    assert!(holds(&[], &[lost[0], lost[1], (0, "5..6 GET n → 1")]));
    assert!(!holds(&[], &[lost[0], (0, "5..6 GET n → 2")]));
    assert!(!holds(
        &[],
        &[lost[0], (0, "3..4 GET n → 1"), (0, "5..6 GET n → nil")]
    ));
}

#[test]
fn a_transaction_is_one_operation() {
    let write = (0, "1..9 SET a 1; SET b 1 → OK; OK");
    assert!(holds(&[], &[write, (0, "2..3 GET a; GET b → nil; nil")]));
    assert!(holds(&[], &[write, (0, "2..3 GET a; GET b → 1; 1")]));
    assert!(!holds(&[], &[write, (0, "2..3 GET a; GET b → 1; nil")]));
}

#[test]
fn a_guarded_transaction_needs_the_value_it_read() {
    let mut history = history(
        &[],
        &[
            (0, "1..2 SET a 1 → OK"),
            (0, "3..4 SET a 2 → OK"),
            (0, "5..6 SET a 3 → OK"),
        ],
    );
    let shape = |seen: &str| Shape::Guarded {
        key: b"a".to_vec(),
        seen: Some(seen.into()),
    };
    history.ops[2].shape = shape("2");
    assert!(check(&history, Limits::default()).violations.is_empty());
    history.ops[2].shape = shape("1");
    assert_eq!(check(&history, Limits::default()).violations.len(), 1);
}

#[test]
fn what_expired_may_vanish_in_its_window_and_never_returns() {
    let set = (0, "1000..2000 SET a x PX 10 → OK");
    assert!(holds(&[], &[set, (0, "10000..10001 GET a → x")]));
    assert!(!holds(&[], &[set, (0, "10000..10001 GET a → nil")]));
    assert!(holds(
        &[],
        &[
            set,
            (0, "11500..11501 GET a → x"),
            (0, "11502..11503 GET a → nil")
        ]
    ));
    assert!(!holds(
        &[],
        &[
            set,
            (0, "11500..11501 GET a → nil"),
            (0, "11502..11503 GET a → x")
        ]
    ));
    assert!(!holds(&[], &[set, (0, "12500..12501 GET a → x")]));
}

#[test]
fn under_always_a_crash_loses_nothing_that_was_answered() {
    let before = [
        (0, "1..2 SET a x → OK"),
        (0, "3..4 SET b y → OK"),
        (0, "5..6 SET c z → ?"),
    ];
    let fork = [Fork::Nothing];
    let after = |line| [before[0], before[1], before[2], (1, line)];
    assert!(holds(&fork, &after("1001..1002 GET a → x")));
    assert!(!holds(&fork, &after("1001..1002 GET b → nil")));
    assert!(holds(&fork, &after("1001..1002 GET c → nil")));
    assert!(holds(&fork, &after("1001..1002 GET c → z")));
    let flip = [
        before[2],
        (1, "1001..1002 GET c → nil"),
        (1, "1003..1004 GET c → z"),
    ];
    assert!(!holds(&fork, &flip));
}

#[test]
fn under_everysec_a_crash_loses_a_suffix_of_the_last_moments_only() {
    let fork = [Fork::Time(5)];
    let before = [
        (0, "1..2 SET a x → OK"),
        (0, "3..7 SET b y → OK"),
        (0, "8..9 SET c z → OK"),
    ];
    let after = |a: &'static str, b: &'static str, c: &'static str| {
        holds(
            &fork,
            &[before[0], before[1], before[2], (1, a), (1, b), (1, c)],
        )
    };
    assert!(after(
        "1001..1002 GET a → x",
        "1003..1004 GET b → y",
        "1005..1006 GET c → z"
    ));
    assert!(after(
        "1001..1002 GET a → x",
        "1003..1004 GET b → y",
        "1005..1006 GET c → nil"
    ));
    assert!(after(
        "1001..1002 GET a → x",
        "1003..1004 GET b → nil",
        "1005..1006 GET c → nil"
    ));
    // Not a prefix.
    assert!(!after(
        "1001..1002 GET a → x",
        "1003..1004 GET b → nil",
        "1005..1006 GET c → z"
    ));
    // Too old to be lost.
    assert!(!after(
        "1001..1002 GET a → nil",
        "1003..1004 GET b → nil",
        "1005..1006 GET c → nil"
    ));
}

#[test]
fn a_failover_loses_only_what_lies_beyond_the_promoted_offset() {
    // The stamps' offsets equal the times of return.
    let before = [(0, "1..2 SET a x → OK"), (0, "3..4 SET a y → OK")];
    let after = |offset, seen| holds(&[Fork::Offset(offset)], &[before[0], before[1], (1, seen)]);
    assert!(after(4, "1001..1002 GET a → y"));
    assert!(!after(4, "1001..1002 GET a → x"));
    assert!(after(3, "1001..1002 GET a → x"));
    assert!(!after(3, "1001..1002 GET a → nil"));
    assert!(holds(
        &[Fork::Anything],
        &[before[0], (1, "1001..1002 GET a → nil")]
    ));
}

#[test]
fn files_may_hold_the_data_of_any_history_that_the_node_followed() {
    // Reign 2 is that of a node that followed reign 0, saved, then followed reign 1, crashed, and found its file.
    let mut history = history(
        &[Fork::Everything, Fork::Anything],
        &[
            (0, "1..2 SET a x → OK"),
            (1, "1001..1002 SET a y → OK"),
            (2, "2001..2002 GET a → x"),
        ],
    );
    history.reigns[1].parent = None;
    let holds = |history: &History| check(history, Limits::default()).violations.is_empty();
    assert!(!holds(&history));
    history.reigns[2].held = vec![0, 1];
    assert!(holds(&history));
}

#[test]
fn a_chance_outcome_must_be_one_that_was_possible() {
    let add = (0, "1..2 SADD s p q → :2");
    assert!(holds(
        &[],
        &[add, (0, "3..4 SPOP s → q"), (0, "5..6 SPOP s → p")]
    ));
    assert!(!holds(
        &[],
        &[add, (0, "3..4 SPOP s → q"), (0, "5..6 SPOP s → q")]
    ));
    // Nobody saw which of the two went: either may still be there, not both gone twice.
    let unseen = (0, "3..4 SPOP s → ?");
    for member in ["p", "q"] {
        let left = format!("5..6 SPOP s → {member}");
        assert!(holds(
            &[],
            &[add, unseen, (0, &left), (0, "7..8 SPOP s → nil")]
        ));
    }
    assert!(!holds(&[], &[add, unseen, (0, "7..8 SPOP s → nil")]));
}
