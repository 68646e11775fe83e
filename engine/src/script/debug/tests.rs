//! What the debugger says, without Lua.

use alloc::string::String;
use alloc::vec::Vec;

use super::*;

fn words(line: &str) -> Words {
    let mut words = Words::default();
    line.split(' ').for_each(|word| words.push(word.as_bytes()));
    words
}

fn said(debugger: &mut Debugger) -> Vec<String> {
    let lines = debugger.take_lines().into_iter();
    lines.map(|line| String::from_utf8(line).unwrap()).collect()
}

#[test]
fn lines_around_any_place_are_listed() {
    let mut debugger = Debugger::new(b"a\nb\nc\n\n");
    assert!(debugger.arrive(2, false));
    said(&mut debugger);
    for (command, lines) in [
        ("list", &["   1   a", "-> 2   b", "   3   c"][..]),
        ("l 3 0", &["   3   c"]),
        (
            "l 9223372036854775807 9223372036854775807",
            &["   1   a", "-> 2   b", "   3   c"],
        ),
        ("l -5 0", &["-> 2   b"]),
        ("l 1 -1", &[]),
    ] {
        assert_eq!(debugger.command(&words(command)), Act::Stay);
        assert_eq!(said(&mut debugger), lines, "{command}");
    }
}

#[test]
fn it_stops_where_it_was_told_to_and_nowhere_else() {
    let mut debugger = Debugger::new(b"a\nb\nc");
    assert!(debugger.arrive(1, false));
    assert_eq!(debugger.command(&words("b 3")), Act::Stay);
    assert_eq!(debugger.command(&words("c")), Act::GoOn);
    assert!(!debugger.arrive(2, false));
    assert!(debugger.arrive(3, false));
    assert!(!debugger.arrive(1, true));
    debugger.stop();
    assert!(debugger.arrive(1, true));
    let last = said(&mut debugger).into_iter().rev().nth(1).unwrap();
    assert_eq!(
        last,
        "* Stopped at 1, stop reason = timeout reached, infinite loop?"
    );
    debugger.call();
    assert!(debugger.arrive(2, false));
    assert!(!debugger.arrive(2, false));
}

#[test]
fn breakpoints_are_as_many_as_redis_has() {
    let mut debugger = Debugger::new(&b"x\n".repeat(100));
    for line in 1..=64 {
        debugger.command(&words(&format!("b {line}")));
    }
    said(&mut debugger);
    debugger.command(&words("b 65"));
    assert_eq!(said(&mut debugger), ["Too many breakpoints set."]);
    debugger.command(&words("b -64 65"));
    assert_eq!(said(&mut debugger)[0], "Breakpoint removed.");
    assert!(debugger.breakpoints.contains(&65));
    debugger.command(&words("b 0 -9223372036854775808"));
    assert_eq!(
        said(&mut debugger),
        [
            "All breakpoints removed.",
            "No breakpoint in the specified line."
        ]
    );
}

#[test]
fn what_waits_to_be_shown_is_bounded() {
    let mut debugger = Debugger::new(b"");
    for _ in 0..10 {
        debugger.say(alloc::vec![b'x'; LONGEST_LINE + 1]);
    }
    let lines = debugger.take_lines();
    assert!(lines.iter().map(Vec::len).sum::<usize>() <= MOST_WAITING);
    debugger.say(b"x".to_vec());
    assert_eq!(debugger.take_lines().len(), 1);
}

#[test]
fn replies_of_any_kind_are_shown() {
    for (reply, shown) in [
        ("*3\r\n$-1\r\n:1\r\n*-1\r\n", "[NULL,1,NULL]"),
        ("%1\r\n+a\r\n~1\r\n#t\r\n", "{\"+a\" => ~(#true)}"),
        (",1.5\r\n", "(double) 1.5"),
        ("_\r\n", "(null)"),
        ("-ERR x\r\n", "\"-ERR x\""),
        ("$3\r\na\"b\r\n", "\"a\\\"b\""),
        // What is broken is shown as far as it goes.
        ("*1000000000000\r\n:1\r\n", "[1"),
        ("$10\r\nab", "\"ab\""),
        ("", ""),
    ] {
        let mut out = Vec::new();
        human(&mut out, reply.as_bytes(), 1000);
        assert_eq!(String::from_utf8(out).unwrap(), shown);
    }
}
