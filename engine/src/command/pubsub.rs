//! Messages between clients: channels, patterns, the cluster's sharded channels, and keyspace notifications,
//! which are messages too.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::context::{Parts, Server};
use super::error::CommandError;
use super::help;
use super::table::Outcome;
use crate::client::{ReplyMode, Scope, Session, alert};
use crate::config::NotifyEvents;
use crate::face::{ConnId, Now};
use crate::resp::Output;
use crate::value::glob::glob_match;

/// What a session is told of a change of its subscriptions.
fn announce(out: &mut Output, what: &str, name: Option<&[u8]>, count: usize) {
    out.push(3);
    out.bulk(what.as_bytes());
    match name {
        Some(name) => out.bulk(name),
        None => out.null(),
    }
    out.int(count as i64);
}

fn subscribe_to(s: &mut Server<'_>, names: &[&[u8]], scope: Scope, what: &str) -> Outcome {
    let session = &mut *s.session;
    let mut mine = session.subscriptions.take().unwrap_or_default();
    for name in names {
        (s.parts.channels).subscribe(session.conn, &mut mine, scope, name);
        announce(&mut session.out, what, Some(name), mine.count(scope));
    }
    keep(session, mine);
    Ok(())
}

fn unsubscribe_from(s: &mut Server<'_>, names: &[&[u8]], scope: Scope, what: &str) -> Outcome {
    let session = &mut *s.session;
    let mut mine = session.subscriptions.take().unwrap_or_default();
    let all: Vec<Box<[u8]>>;
    let mut which: Vec<&[u8]> = names.to_vec();
    if names.is_empty() {
        all = mine.names(scope).iter().cloned().collect();
        which = all.iter().map(|name| &**name).collect();
        if which.is_empty() {
            announce(&mut session.out, what, None, mine.count(scope));
        }
    }
    for name in which {
        (s.parts.channels).unsubscribe(session.conn, &mut mine, scope, name);
        announce(&mut session.out, what, Some(name), mine.count(scope));
    }
    keep(session, mine);
    Ok(())
}

/// What has just been written is no reply: CLIENT REPLY OFF and SKIP do not concern it.
fn keep_pushed(session: &mut Session) {
    if session.reply_mode != ReplyMode::On {
        session.muted_from = session.out.position();
    }
}

fn keep(session: &mut Session, mine: Box<crate::client::Subscriptions>) {
    keep_pushed(session);
    session.set(alert::SUBSCRIBED, !mine.is_empty());
    session.subscriptions = (!mine.is_empty()).then_some(mine);
}

/// `SUBSCRIBE channel [channel …]`. <https://redis.io/commands/subscribe/>
pub(super) fn subscribe(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    subscribe_to(s, &args[1..], Scope::Channel, "subscribe")
}

/// `PSUBSCRIBE pattern [pattern …]`. <https://redis.io/commands/psubscribe/>
pub(super) fn psubscribe(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    subscribe_to(s, &args[1..], Scope::Pattern, "psubscribe")
}

/// `SSUBSCRIBE shardchannel [shardchannel …]`. <https://redis.io/commands/ssubscribe/>
pub(super) fn ssubscribe(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    subscribe_to(s, &args[1..], Scope::Shard, "ssubscribe")
}

/// `UNSUBSCRIBE [channel …]`. <https://redis.io/commands/unsubscribe/>
pub(super) fn unsubscribe(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    unsubscribe_from(s, &args[1..], Scope::Channel, "unsubscribe")
}

/// `PUNSUBSCRIBE [pattern …]`. <https://redis.io/commands/punsubscribe/>
pub(super) fn punsubscribe(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    unsubscribe_from(s, &args[1..], Scope::Pattern, "punsubscribe")
}

/// `SUNSUBSCRIBE [shardchannel …]`. <https://redis.io/commands/sunsubscribe/>
pub(super) fn sunsubscribe(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    unsubscribe_from(s, &args[1..], Scope::Shard, "sunsubscribe")
}

/// `PUBLISH channel message`. Cluster nodes tell each other over their bus, replicas learn by the stream.
/// <https://redis.io/commands/publish/>
pub(super) fn publish(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let receivers = deliver(
        s.parts,
        Some(s.session),
        s.now,
        Scope::Channel,
        args[1],
        args[2],
    );
    pass_on(s, args, false);
    s.session.out.int(receivers as i64);
    Ok(())
}

/// `SPUBLISH shardchannel message`. <https://redis.io/commands/spublish/>
pub(super) fn spublish(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let receivers = deliver(
        s.parts,
        Some(s.session),
        s.now,
        Scope::Shard,
        args[1],
        args[2],
    );
    pass_on(s, args, true);
    s.session.out.int(receivers as i64);
    Ok(())
}

fn pass_on(s: &mut Server<'_>, args: &[&[u8]], sharded: bool) {
    match &mut s.parts.cluster {
        Some(cluster) => cluster.publish(args[1], args[2], sharded),
        // The append-only file has the same stream, where it does no harm.
        None if s.parts.replication.wants_journal() => s.parts.effects.also(s.session.db, args),
        None => {}
    }
}

/// Sends a message to all who listen; returns how many did. `current` is the session whose command runs.
pub(crate) fn deliver(
    parts: &mut Parts,
    mut current: Option<&mut Session>,
    now: Now,
    scope: Scope,
    channel: &[u8],
    message: &[u8],
) -> usize {
    let conns: Vec<ConnId> = parts.channels.listeners(scope, channel).collect();
    let mut receivers = conns.len();
    let kind: &[u8] = match scope {
        Scope::Shard => b"smessage",
        _ => b"message",
    };
    for conn in conns {
        send(
            parts,
            current.as_deref_mut(),
            conn,
            now,
            &[kind, channel, message],
        );
    }
    if scope == Scope::Shard {
        return receivers;
    }
    let mut matches: Vec<(Box<[u8]>, ConnId)> = Vec::new();
    for (pattern, listeners) in parts.channels.all(Scope::Pattern) {
        if glob_match(pattern, channel, false) {
            matches.extend(listeners.iter().map(|conn| (pattern.clone(), *conn)));
        }
    }
    receivers += matches.len();
    for (pattern, conn) in matches {
        let words: [&[u8]; 4] = [b"pmessage", &pattern, channel, message];
        send(parts, current.as_deref_mut(), conn, now, &words);
    }
    receivers
}

fn send(parts: &mut Parts, current: Option<&mut Session>, conn: ConnId, now: Now, words: &[&[u8]]) {
    let write = |session: &mut Session| {
        session.out.push(words.len());
        words.iter().for_each(|word| session.out.bulk(word));
        keep_pushed(session);
    };
    if let Some(session) = current.filter(|session| session.conn == conn) {
        return write(session);
    }
    let overrun = match parts.clients.get_mut(conn) {
        Some(session) => {
            write(session);
            crate::client::limits::overrun(session, &parts.config, now)
        }
        None => return,
    };
    if overrun {
        return parts.close_for_output(conn, now);
    }
    parts.clients.queue_output(conn);
}

/// Publishes what happened to keys.
#[cold]
pub(crate) fn publish_events(parts: &mut Parts, mut current: Option<&mut Session>, now: Now) {
    let chosen = parts.config.notify_keyspace_events;
    for event in parts.events.take() {
        if parts.channels.nobody_listens() {
            continue;
        }
        let mut tell = |space: &str, of: &[u8], message: &[u8]| {
            let mut channel = alloc::format!("__{space}@{}__:", event.db).into_bytes();
            channel.extend_from_slice(of);
            let current = current.as_deref_mut();
            deliver(parts, current, now, Scope::Channel, &channel, message);
        };
        if chosen.contains(NotifyEvents::KEYSPACE) {
            tell("keyspace", &event.key, event.name.as_bytes());
        }
        if chosen.contains(NotifyEvents::KEYEVENT) {
            tell("keyevent", event.name.as_bytes(), &event.key);
        }
    }
}

/// The names of a namespace, of those that match a pattern.
fn names(s: &mut Server<'_>, scope: Scope, args: &[&[u8]]) -> Outcome {
    if args.len() > 3 {
        return Err(CommandError::subcommand("PUBSUB", args[1]));
    }
    let matching: Vec<&Box<[u8]>> = (s.parts.channels.all(scope).keys())
        .filter(|name| {
            args.get(2)
                .is_none_or(|pattern| glob_match(pattern, name, false))
        })
        .collect();
    s.session.out.array(matching.len());
    matching.iter().for_each(|name| s.session.out.bulk(name));
    Ok(())
}

fn counts(s: &mut Server<'_>, scope: Scope, names: &[&[u8]]) -> Outcome {
    s.session.out.array(names.len() * 2);
    for name in names {
        s.session.out.bulk(name);
        s.session
            .out
            .int(s.parts.channels.count(scope, name) as i64);
    }
    Ok(())
}

/// `PUBSUB CHANNELS [pattern]`. <https://redis.io/commands/pubsub-channels/>
pub(super) fn channels(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    names(s, Scope::Channel, args)
}

/// `PUBSUB SHARDCHANNELS [pattern]`. <https://redis.io/commands/pubsub-shardchannels/>
pub(super) fn shardchannels(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    names(s, Scope::Shard, args)
}

/// `PUBSUB NUMSUB [channel …]`. <https://redis.io/commands/pubsub-numsub/>
pub(super) fn numsub(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    counts(s, Scope::Channel, &args[2..])
}

/// `PUBSUB SHARDNUMSUB [shardchannel …]`. <https://redis.io/commands/pubsub-shardnumsub/>
pub(super) fn shardnumsub(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    counts(s, Scope::Shard, &args[2..])
}

/// `PUBSUB NUMPAT`. <https://redis.io/commands/pubsub-numpat/>
pub(super) fn numpat(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let patterns = s.parts.channels.all(Scope::Pattern).len();
    s.session.out.int(patterns as i64);
    Ok(())
}

/// `PUBSUB HELP`. <https://redis.io/commands/pubsub-help/>
pub(super) fn help(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    help::help(&mut s.session.out, "PUBSUB", help::PUBSUB);
    Ok(())
}

/// A session ends, or is reset: it listens to nothing any more.
pub(crate) fn forget(parts: &mut Parts, session: &mut Session) {
    if let Some(mut mine) = session.subscriptions.take() {
        parts.channels.forget(session.conn, &mut mine);
    }
    session.set(alert::SUBSCRIBED, false);
}

/// Slots have gone to other nodes: who listens to sharded channels in them is told that this is over.
pub(crate) fn drop_shard_channels(parts: &mut Parts, is_lost: impl Fn(&[u8]) -> bool) {
    for name in parts.channels.shard_channels(is_lost) {
        let conns: Vec<ConnId> = parts.channels.listeners(Scope::Shard, &name).collect();
        for conn in conns {
            let Some(session) = parts.clients.get_mut(conn) else {
                continue;
            };
            let mut mine = session.subscriptions.take().unwrap_or_default();
            (parts.channels).unsubscribe(conn, &mut mine, Scope::Shard, &name);
            let count = mine.count(Scope::Shard);
            announce(&mut session.out, "sunsubscribe", Some(&name), count);
            keep(session, mine);
            parts.clients.queue_output(conn);
        }
    }
}
