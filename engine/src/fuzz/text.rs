//! Texts that people write: configuration, patterns, and what scripts' libraries read.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use crate::config::{Config, file, rewrite};
use crate::script::{Event, Finished, Job, Kind, Outcome, Vm};
use crate::value::glob::glob_match;

/// Lines of a configuration file: what they make is, written again, the same.
pub fn config(data: &[u8]) {
    let read = |text: &[u8]| {
        let loader = file::Loader::new(Config::default());
        let mut loader = loader.with_commands(crate::command::catalogue());
        for (number, line) in file::lines(text) {
            let _ = loader.line(number, line)?;
        }
        loader.finish()
    };
    let config = match read(data) {
        Ok(config) => config,
        Err(error) => {
            // It says something of the line.
            assert!(!format!("{error}").is_empty());
            return;
        }
    };
    for (old, all) in [(data, false), (data, true), (&[][..], false)] {
        let text = rewrite::rewrite(old, &config, None, all);
        let again = match read(&text) {
            Ok(again) => again,
            Err(error) => panic!("{error}\n{}", text.escape_ascii()),
        };
        for (before, after) in config.get(&[b"*"]).iter().zip(again.get(&[b"*"])) {
            assert_eq!(*before, after, "{}", text.escape_ascii());
        }
    }
}

/// A pattern, a byte that is zero, a text: they match if any way of reading the stars does.
pub fn glob(data: &[u8]) {
    let data = &data[..data.len().min(512)];
    let (pattern, text) = match memchr::memchr(0, data) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => data.split_at(data.len() / 2),
    };
    for ignore_case in [false, true] {
        let found = glob_match(pattern, text, ignore_case);
        assert_eq!(found, any_way(pattern, text, ignore_case));
        if found && !ignore_case {
            assert!(glob_match(pattern, text, true) || pattern.contains(&b'['));
        }
    }
    let literal: Vec<u8> = text.iter().flat_map(|&byte| [b'\\', byte]).collect();
    assert!(glob_match(&literal, text, false));
    assert!(text.is_empty() || glob_match(b"*", text, false));
}

/// All places in the pattern that the text so far may have led to.
fn any_way(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let star = |p: usize| pattern.get(p) == Some(&b'*');
    let mut here = vec![false; pattern.len() + 1];
    here[0] = true;
    for &byte in text {
        let mut next = vec![false; pattern.len() + 1];
        for p in 0..=pattern.len() {
            if !here[p] {
                continue;
            }
            if star(p) {
                // It takes the byte and stays, or is over.
                next[p] = true;
                here[p + 1] = true;
            } else if let Some(after) = crate::value::glob::match_one(pattern, p, byte, ignore_case)
            {
                next[after] = true;
            }
        }
        here = next;
    }
    (0..=pattern.len()).any(|p| here[p] && (p..pattern.len()).all(star))
}

/// What scripts' libraries are given, after a byte that says to which: they answer or raise an error, and understand
/// what they wrote themselves.
pub fn libraries(data: &[u8]) {
    const SCRIPTS: [&str; 4] = [
        "local ok, v = pcall(cjson.decode, ARGV[1]) \
         if not ok then return end \
         local ok, text = pcall(cjson.encode, v) \
         if not ok then return end \
         assert(#cjson.encode(cjson.decode(text)) == #text, 'broken')",
        "local t = {pcall(cmsgpack.unpack, ARGV[1])} \
         if not t[1] then return end \
         for i = 2, #t do \
           local ok, packed = pcall(cmsgpack.pack, t[i]) \
           if ok then assert(pcall(cmsgpack.unpack, packed), 'broken') end \
         end",
        "local at, t = 0, nil \
         for i = 1, 100 do \
           local r = {pcall(cmsgpack.unpack_limit, ARGV[1], 1, at)} \
           if not r[1] or r[2] < 0 then return end \
           assert(r[2] > at, 'broken') \
           at = r[2] \
         end",
        "local fmt, rest = string.match(ARGV[1], '^([%g ]*)(.*)$') \
         pcall(struct.size, fmt) \
         pcall(struct.unpack, fmt, rest) \
         local ok, packed = pcall(struct.pack, fmt, 1, 2.5, 'text', 4, 5, 6, 'more') \
         if ok then pcall(struct.unpack, fmt, packed) end",
    ];
    let Some((which, text)) = data.split_first() else {
        return;
    };
    let script = SCRIPTS[usize::from(*which) % SCRIPTS.len()];
    let mut vm = Vm::new(Kind::Eval).expect("an interpreter");
    let Event::Outcome(Outcome::Compiled(Ok(function))) =
        vm.start(Job::Compile(script.as_bytes().to_vec()))
    else {
        panic!("the script is none");
    };
    vm.io.words.borrow_mut().clear();
    vm.io.words.borrow_mut().push(text);
    let mut event = vm.start(Job::Run {
        function,
        keys: 0,
        resp3: false,
    });
    for _ in 0..1000 {
        match event {
            Event::Outcome(Outcome::Done(Finished::Reply)) => return,
            Event::Outcome(Outcome::Done(Finished::Error { .. })) => {
                let reply = vm.io.reply.borrow();
                assert!(
                    memchr::memmem::find(&reply, b"broken").is_none(),
                    "{}",
                    reply.escape_ascii()
                );
                return;
            }
            _ => event = vm.go_on(),
        }
    }
    panic!("it does not end");
}
