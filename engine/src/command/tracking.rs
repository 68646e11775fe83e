//! CLIENT TRACKING and its relatives: how a client tracks what it caches, and how it is told that a key changed.
//!
//! Who is to be told is [`crate::client::tracking`]'s affair; here the messages are written, after the reply of the
//! command that made them necessary. <https://redis.io/docs/latest/develop/reference/client-side-caching/>

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};

use super::context::{Parts, Server, condition};
use super::error::CommandError;
use super::string::integer;
use super::table::{Command, Outcome, flag};
use crate::client::tracking::{Mode, Notice};
use crate::client::{Blocked, Session, alert, limits};
use crate::face::{ConnId, Now};
use crate::resp::Output;

/// The channel by which clients of RESP2 are told.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// Keys that were forgotten all at once and are freed in one round.
const FREED: usize = 2048;

/// `CLIENT TRACKING ON | OFF [REDIRECT client-id] [PREFIX prefix …] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]`.
/// <https://redis.io/commands/client-tracking/>
pub(super) fn tracking(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let mut mode = Mode::default();
    let mut prefixes: alloc::vec::Vec<&[u8]> = alloc::vec::Vec::new();
    let mut rest = &args[3..];
    loop {
        rest = match rest {
            [] => break,
            [word, id, more @ ..] if word.eq_ignore_ascii_case(b"redirect") => {
                if mode.redirect != 0 {
                    return Err(CommandError::fixed(
                        "ERR A client can only redirect to a single other client",
                    ));
                }
                mode.redirect = u64::try_from(integer(id)?)
                    .ok()
                    .filter(|id| *id == s.session.id || s.parts.clients.by_id(*id).is_some())
                    .ok_or(CommandError::fixed(
                        "ERR The client ID you want redirect to does not exist",
                    ))?;
                more
            }
            [word, prefix, more @ ..] if word.eq_ignore_ascii_case(b"prefix") => {
                prefixes.push(prefix);
                more
            }
            [word, more @ ..] => {
                *match word.to_ascii_lowercase().as_slice() {
                    b"bcast" => &mut mode.broadcast,
                    b"optin" => &mut mode.opt_in,
                    b"optout" => &mut mode.opt_out,
                    b"noloop" => &mut mode.no_loop,
                    _ => return Err(CommandError::SYNTAX),
                } = true;
                more
            }
        }
    }
    match args[2].to_ascii_lowercase().as_slice() {
        b"on" => {
            let old = s.session.tracking.as_deref();
            check(&mode, old, &prefixes)?;
            if let Some(old) = s.session.tracking.take() {
                mode.caching = old.caching;
                mode.prefixes = old.prefixes;
                mode.prefix_bytes = old.prefix_bytes;
            }
            if mode.broadcast && prefixes.is_empty() {
                prefixes.push(b"");
            }
            for &prefix in &prefixes {
                if mode.prefixes.insert(prefix.into()) {
                    mode.prefix_bytes += prefix.len();
                }
            }
            let tracking = &mut s.parts.watches.tracking;
            tracking.add_client(s.session.id, prefixes);
            s.session.tracking = Some(Box::new(mode));
        }
        b"off" => forget(s.parts, s.session),
        _ => return Err(CommandError::SYNTAX),
    }
    s.session.out.ok();
    Ok(())
}

/// Whether a mode makes sense, in itself and after the old one.
fn check(mode: &Mode, old: Option<&Mode>, prefixes: &[&[u8]]) -> Outcome {
    let wrong = |text| Err(CommandError::fixed(text));
    if !mode.broadcast && !prefixes.is_empty() {
        return wrong("ERR PREFIX option requires BCAST mode to be enabled");
    }
    if old.is_some_and(|old| old.broadcast != mode.broadcast) {
        return wrong(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling \
             it with a different mode.",
        );
    }
    if mode.broadcast && (mode.opt_in || mode.opt_out) {
        return wrong("ERR OPTIN and OPTOUT are not compatible with BCAST");
    }
    if mode.opt_in && mode.opt_out {
        return wrong("ERR You can't specify both OPTIN mode and OPTOUT mode");
    }
    if old.is_some_and(|old| mode.opt_in && old.opt_out || mode.opt_out && old.opt_in) {
        return wrong(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling \
             it with a different mode.",
        );
    }
    let none = BTreeSet::new();
    let existing = old.map_or(&none, |old| &old.prefixes);
    check_prefixes(existing, prefixes)
}

/// A client's prefixes must not overlap: it would be told twice of one change.
fn check_prefixes(existing: &BTreeSet<Box<[u8]>>, prefixes: &[&[u8]]) -> Outcome {
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    let error = |new: &[u8], which: &[u8], other: &[u8]| {
        Err(CommandError::showing(&[
            b"ERR Prefix '",
            new,
            b"' overlaps with ",
            which,
            b" prefix '",
            other,
            b"'. Prefixes for a single client must not overlap.",
        ]))
    };
    let mut seen: BTreeSet<&[u8]> = BTreeSet::new();
    for (i, &new) in prefixes.iter().enumerate() {
        // Among prefixes that do not overlap, only a neighbour in name order can overlap with another.
        if let Some(other) = neighbours(existing, new).find(|other| overlap(other, new)) {
            return error(new, b"an existing", other);
        }
        let mut near = (seen.range(..=new).next_back().into_iter()).chain(seen.range(new..).next());
        if near.any(|other| overlap(other, new)) {
            // It is the earlier of the two that is at fault, as it were.
            let first = prefixes[..i]
                .iter()
                .copied()
                .find(|other| overlap(other, new));
            return error(first.unwrap_or(new), b"another provided", new);
        }
        seen.insert(new);
    }
    Ok(())
}

/// The names before and after a name, and that itself.
fn neighbours<'a>(names: &'a BTreeSet<Box<[u8]>>, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    use core::ops::Bound::{Excluded, Included, Unbounded};
    let before = names
        .range::<[u8], _>((Unbounded, Included(name)))
        .next_back();
    let after = names.range::<[u8], _>((Excluded(name), Unbounded)).next();
    before.into_iter().chain(after).map(|name| &**name)
}

/// `CLIENT CACHING YES | NO`. <https://redis.io/commands/client-caching/>
pub(super) fn caching(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let Some(mode) = &mut s.session.tracking else {
        return Err(CommandError::fixed(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
             enabled",
        ));
    };
    match args[2].to_ascii_lowercase().as_slice() {
        b"yes" if mode.opt_in => {}
        b"yes" => {
            return Err(CommandError::fixed(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            ));
        }
        b"no" if mode.opt_out => {}
        b"no" => {
            return Err(CommandError::fixed(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            ));
        }
        _ => return Err(CommandError::SYNTAX),
    }
    mode.caching = true;
    s.session.out.ok();
    Ok(())
}

/// Whom a session redirects to, as CLIENT LIST and CLIENT GETREDIR show it: -1 if it does not track, 0 if it is
/// told itself.
pub(super) fn redirection(session: &Session) -> i64 {
    let mode = session.tracking.as_ref();
    mode.map_or(-1, |mode| mode.redirect as i64)
}

/// `CLIENT GETREDIR`. <https://redis.io/commands/client-getredir/>
pub(super) fn getredir(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    s.session.out.int(redirection(s.session));
    Ok(())
}

/// `CLIENT TRACKINGINFO`. <https://redis.io/commands/client-trackinginfo/>
pub(super) fn trackinginfo(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let off = Mode::default();
    let (on, mode) = match &s.session.tracking {
        Some(mode) => (true, &**mode),
        None => (false, &off),
    };
    let flags = [
        (!on, "off"),
        (on, "on"),
        (mode.broadcast, "bcast"),
        (mode.opt_in, "optin"),
        (mode.opt_in && mode.caching, "caching-yes"),
        (mode.opt_out, "optout"),
        (mode.opt_out && mode.caching, "caching-no"),
        (mode.no_loop, "noloop"),
        (mode.broken, "broken_redirect"),
    ];
    let redirect = redirection(s.session);
    let out = &mut s.session.out;
    out.map(3);
    out.bulk(b"flags");
    out.set(flags.iter().filter(|(set, _)| *set).count());
    for (_, name) in flags.iter().filter(|(set, _)| *set) {
        out.bulk(name.as_bytes());
    }
    out.bulk(b"redirect");
    out.int(redirect);
    out.bulk(b"prefixes");
    out.array(mode.prefixes.len());
    mode.prefixes.iter().for_each(|prefix| out.bulk(prefix));
    Ok(())
}

/// A session ends, or ceases to track.
pub(crate) fn forget(parts: &mut Parts, session: &mut Session) {
    if let Some(mode) = session.tracking.take() {
        parts.watches.tracking.remove_client(session.id, &mode);
    }
}

/// A command was carried out for a client: what it read is remembered.
#[cold]
pub(super) fn remember(parts: &mut Parts, session: &Session, command: &Command, args: &[&[u8]]) {
    let Some(mode) = session.tracking.as_deref().filter(|mode| mode.remembers()) else {
        return;
    };
    // (Of a script only the commands in it count.)
    let script = matches!(command.name, "eval_ro" | "evalsha_ro" | "fcall_ro");
    if command.flags & flag::READONLY == 0 || command.flags & flag::PUBSUB != 0 || script {
        return;
    }
    let tracking = &mut parts.watches.tracking;
    if let Some(declared) = &mode.declared {
        for key in declared {
            tracking.remember(session.id, key);
        }
    } else {
        let remember = |i: usize, _| tracking.remember(session.id, args[i]);
        // Words that contradict themselves were an error, which reads nothing more than was found until then.
        let _ = command.each_key(args.len(), |i| args[i], remember);
    }
    if tracking.exceeds(parts.config.tracking_table_max_keys) {
        parts.set(condition::TRACKING_FULL, true);
    }
}

/// For the session of a script: its caller's way of tracking, with the keys that the script declared.
pub(super) fn mode_for_script(caller: &Session, keys: &[&[u8]]) -> Option<Box<Mode>> {
    let mode = caller.tracking.as_deref()?;
    Some(Box::new(Mode {
        opt_in: mode.opt_in,
        opt_out: mode.opt_out,
        caching: mode.caching,
        broadcast: mode.broadcast,
        declared: Some(keys.iter().map(|&key| key.into()).collect()),
        ..Mode::default()
    }))
}

/// A request is over: CLIENT CACHING holds for the next one, or for one transaction.
pub(super) fn end_caching(session: &mut Session, command: Option<&Command>) {
    let kept = session.is(alert::MULTI)
        || session.blocked.as_deref() == Some(&Blocked::Paused)
        || command.is_some_and(|command| command.name.starts_with("client"));
    if let Some(mode) = session.tracking.as_mut().filter(|_| !kept) {
        mode.caching = false;
    }
}

/// Drops keys if there are too many, and tells those who have them.
#[cold]
pub(crate) fn limit(parts: &mut Parts, current: Option<&mut Session>, now: Now) {
    let most = parts.config.tracking_table_max_keys;
    let tracking = &mut parts.watches.tracking;
    tracking.drop_excess(most);
    let full = tracking.exceeds(most);
    parts.set(condition::TRACKING_FULL, full);
    deliver(parts, current, now);
}

/// What is done from time to time. False if there is more.
pub(crate) fn tend(parts: &mut Parts, now: Now) -> bool {
    let most = parts.config.tracking_table_max_keys;
    if parts.watches.tracking.exceeds(most) {
        limit(parts, None, now);
    }
    parts.watches.tracking.free_some(FREED)
}

/// Before everybody rests: the changes under prefixes, which were collected until now, are told.
pub(crate) fn broadcast(parts: &mut Parts, now: Now) {
    let clients = &parts.clients;
    parts.watches.tracking.broadcast(|id| {
        let session = clients.by_id(id).and_then(|conn| clients.get(conn));
        let mode = session.and_then(|session| session.tracking.as_deref());
        mode.is_some_and(|mode| mode.no_loop)
    });
    if parts.watches.tracking.any_due() {
        deliver(parts, None, now);
    }
}

/// Who is meant by a number.
enum Who {
    Current,
    Other(ConnId),
    /// He runs a command at the moment, and will be told after it.
    Busy,
    Gone,
}

fn find(parts: &Parts, current: Option<&Session>, id: u64) -> Who {
    if current.is_some_and(|session| session.id == id) {
        return Who::Current;
    }
    let Some(conn) = parts.clients.by_id(id) else {
        return Who::Gone;
    };
    match parts.clients.get(conn) {
        None => Who::Busy,
        Some(session) if session.blocked.as_deref() == Some(&Blocked::Script) => Who::Busy,
        Some(_) => Who::Other(conn),
    }
}

/// Writes what is due. `current` is the session whose command is over, or about to begin; it is not among the
/// clients meanwhile. What is for others whose commands run stays due.
#[cold]
pub(crate) fn deliver(parts: &mut Parts, mut current: Option<&mut Session>, now: Now) {
    let mut later = VecDeque::new();
    for notice in parts.watches.tracking.take_due() {
        let who = find(parts, current.as_deref(), notice.client);
        let session = match who {
            Who::Gone => continue,
            Who::Busy => {
                later.push_back(notice);
                continue;
            }
            Who::Current => current.as_deref(),
            Who::Other(conn) => parts.clients.get(conn),
        };
        // It may have ceased to track, or track otherwise.
        let Some((session, mode)) = session.and_then(|s| Some((s, s.tracking.as_deref()?))) else {
            continue;
        };
        let flush = notice.keys.is_none();
        let meant = flush || mode.broadcast == notice.broadcast;
        if !meant || (mode.no_loop && notice.by == notice.client && !flush) {
            continue;
        }
        let (to, resp3) = (mode.redirect, session.out.resp3);
        if to == 0 {
            let write = |out: &mut Output, _| {
                if out.resp3 {
                    invalidate(out, &notice, resp3);
                }
            };
            tell(parts, current.as_deref_mut(), &who, now, write);
            continue;
        }
        let receiver = find(parts, current.as_deref(), to);
        match receiver {
            Who::Busy => later.push_back(notice),
            Who::Gone => {
                let session = match who {
                    Who::Other(conn) => parts.clients.get_mut(conn),
                    _ => current.as_deref_mut(),
                };
                if let Some(mode) = session.and_then(|session| session.tracking.as_mut()) {
                    mode.broken = true;
                }
                let write = |out: &mut Output, _| {
                    if out.resp3 {
                        out.push(2);
                        out.bulk(b"tracking-redir-broken");
                        out.int(to as i64);
                    }
                };
                tell(parts, current.as_deref_mut(), &who, now, write);
            }
            Who::Current | Who::Other(_) => {
                let write = |out: &mut Output, subscribed| {
                    if out.resp3 {
                        invalidate(out, &notice, resp3);
                    } else if subscribed {
                        out.push(3);
                        out.bulk(b"message");
                        out.bulk(CHANNEL);
                        content(out, &notice, resp3);
                    }
                };
                tell(parts, current.as_deref_mut(), &receiver, now, write);
            }
        }
    }
    parts.watches.tracking.put_back(later);
}

fn invalidate(out: &mut Output, notice: &Notice, resp3: bool) {
    out.push(2);
    out.bulk(b"invalidate");
    content(out, notice, resp3);
}

/// The keys; or a null, in the protocol of the client that tracks.
fn content(out: &mut Output, notice: &Notice, resp3: bool) {
    match &notice.keys {
        Some(keys) => out.shared(keys.clone()),
        None if resp3 => out.raw(b"_\r\n"),
        None => out.raw(b"$-1\r\n"),
    }
}

/// Has somebody's output written, also if he wants no replies; he must be there. `write` learns whether he is
/// subscribed to something.
fn tell(
    parts: &mut Parts,
    current: Option<&mut Session>,
    who: &Who,
    now: Now,
    write: impl FnOnce(&mut Output, bool),
) {
    let session = match who {
        Who::Other(conn) => parts.clients.get_mut(*conn),
        _ => current,
    };
    // What a replica is sent is the stream, and nothing else.
    let Some(session) = session.filter(|s| !s.is(alert::REPLICA | alert::CLOSING)) else {
        return;
    };
    let subscribed = session.is(alert::SUBSCRIBED);
    write(&mut session.out, subscribed);
    if session.is(alert::MUTED) {
        session.muted_from = session.out.position();
    }
    if let Who::Other(conn) = *who {
        if limits::overrun(session, &parts.config, now) {
            return parts.close_for_output(conn, now);
        }
        parts.clients.queue_output(conn);
    }
}
