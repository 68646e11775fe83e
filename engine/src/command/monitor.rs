//! MONITOR: every command that is carried out, as it comes, on the connections that asked for it.

use alloc::vec::Vec;

use super::context::{Parts, Server};
use super::error::CommandError;
use super::table::{Command, Outcome, flag};
use crate::client::{Session, alert, limits};
use crate::face::{ConnId, Now};

/// `MONITOR`. <https://redis.io/commands/monitor/>
pub(super) fn monitor(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    if s.session.is(alert::MULTI) {
        return Err(CommandError::fixed(
            "ERR MONITOR isn't allowed for DENY BLOCKING client",
        ));
    }
    if !s.parts.monitors.contains(&s.session.conn) {
        s.parts.monitors.push(s.session.conn);
        s.session.monitors = true;
    }
    s.session.out.ok();
    Ok(())
}

/// Shows a command to those who watch, unless it is one that must not be seen.
#[cold]
pub(super) fn show(
    parts: &mut Parts,
    session: &mut Session,
    now: Now,
    command: &Command,
    words: &[&[u8]],
) {
    if command.flags & (flag::SKIP_MONITOR | flag::ADMIN) != 0 {
        return;
    }
    show_words(parts, session, now, &super::redacted(command, words));
}

/// Shows words to those who watch.
pub(super) fn show_words(parts: &mut Parts, session: &mut Session, now: Now, words: &[&[u8]]) {
    let line = line(session, now, words);
    let watching: Vec<ConnId> = parts.monitors.clone();
    for conn in watching {
        if conn == session.conn {
            session.out.raw(&line);
            continue;
        }
        let Some(watcher) = parts.clients.get_mut(conn) else {
            continue;
        };
        watcher.out.raw(&line);
        if limits::overrun(watcher, &parts.config, now) {
            parts.close_for_output(conn, now);
        } else {
            parts.clients.queue_output(conn);
        }
    }
}

/// The line that is shown, as a simple string.
fn line(session: &Session, now: Now, words: &[&[u8]]) -> Vec<u8> {
    let (seconds, micros) = (now.unix_us / 1_000_000, now.unix_us % 1_000_000);
    let peer = super::address(&session.peer);
    let peer = match &session.peer {
        // A script's session has no connection.
        crate::face::Address::Unix(path) if session.conn.is_outgoing() => path.clone(),
        crate::face::Address::Unix(path) => alloc::format!("unix:{path}"),
        crate::face::Address::Ip(_) => peer,
    };
    let mut line = alloc::format!("+{seconds}.{micros:06} [{} {peer}]", session.db).into_bytes();
    for word in words {
        line.extend_from_slice(b" \"");
        quote(&mut line, word);
        line.push(b'"');
    }
    line.extend_from_slice(b"\r\n");
    line
}

/// A word as it is shown between quotes.
fn quote(line: &mut Vec<u8>, word: &[u8]) {
    for &byte in word {
        match byte {
            b'\\' | b'"' => line.extend_from_slice(&[b'\\', byte]),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            7 => line.extend_from_slice(b"\\a"),
            8 => line.extend_from_slice(b"\\b"),
            b' '..=b'~' => line.push(byte),
            _ => line.extend_from_slice(alloc::format!("\\x{byte:02x}").as_bytes()),
        }
    }
}

/// A session ends, or is reset: it watches no more.
pub(crate) fn forget(parts: &mut Parts, session: &mut Session) {
    if core::mem::take(&mut session.monitors) {
        parts.monitors.retain(|conn| *conn != session.conn);
    }
}
