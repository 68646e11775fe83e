//! The access rules at work: what a command touches is worked out from its row, its user is asked, and what was
//! refused is remembered.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::context::{Parts, Server};
use super::error::CommandError;
use super::table::{Command, flag, key};
use crate::acl::{
    self, Acl, ChannelUse, Context, Denied, Entry, KeyUse, Question, READ, Reason, UserId, WRITE,
};
use crate::client::{Session, alert};
use crate::face::{ConnId, Now};

/// The keys that a command mentions, and what it does with them. None if its words contradict themselves: then it
/// will be refused for that.
fn keys(command: &Command, args: &[&[u8]]) -> Vec<KeyUse> {
    let mut found = Vec::new();
    let each = |at: usize, flags: u16| {
        let flags = key_flags(command, args, flags);
        let reads = flags & key::ACCESS != 0;
        let writes = flags & (key::INSERT | key::DELETE | key::UPDATE) != 0;
        if flags & key::NOT_KEY == 0 {
            let needs = if reads { READ } else { 0 } | if writes { WRITE } else { 0 };
            found.push(KeyUse { at, needs });
        }
    };
    match command.each_key(args.len(), |i| args[i], each) {
        Ok(()) => found,
        Err(_) => Vec::new(),
    }
}

/// What a command with these words does to a key, where its options decide that.
pub(super) fn key_flags(command: &Command, args: &[&[u8]], flags: u16) -> u16 {
    match command.name {
        "bitfield" if only_reads_bits(args) => key::RO | key::ACCESS,
        "set" => {
            let options = args.get(3..).unwrap_or_default();
            if options.iter().any(|word| word.eq_ignore_ascii_case(b"get")) {
                flags & !key::VARIABLE_FLAGS
            } else {
                key::OW | key::UPDATE
            }
        }
        _ => flags & !key::VARIABLE_FLAGS,
    }
}

/// Whether a BITFIELD changes nothing.
fn only_reads_bits(args: &[&[u8]]) -> bool {
    let mut rest = args.get(2..).unwrap_or_default();
    while let [word, more @ ..] = rest {
        rest = match (word.to_ascii_lowercase().as_slice(), more) {
            (b"get", [_, _, more @ ..]) | (b"overflow", [_, more @ ..]) => more,
            _ => return false,
        };
    }
    true
}

/// The channels that a command mentions to publish in them or to subscribe to them.
fn channels(command: &Command, args: &[&[u8]]) -> Vec<ChannelUse> {
    let (count, is_pattern) = match command.name {
        "publish" | "spublish" => (1, false),
        "subscribe" | "ssubscribe" => (usize::MAX, false),
        "psubscribe" => (usize::MAX, true),
        _ => return Vec::new(),
    };
    let words = (1..args.len()).take(count);
    words.map(|at| ChannelUse { at, is_pattern }).collect()
}

/// What a user says to a command, and whether it may read keys that its words do not tell.
fn ask(
    acl: &Acl,
    user: UserId,
    number: usize,
    command: &Command,
    args: &[&[u8]],
) -> (Result<(), Denied>, bool) {
    let Some(user) = acl.user(user) else {
        return (Err(Denied::Command), false);
    };
    let keys = if user.ignores_keys() {
        Vec::new()
    } else {
        keys(command, args)
    };
    let question = Question {
        command: number as u16,
        for_all: command.flags & flag::NO_AUTH != 0,
        words: args,
        keys: &keys,
        channels: &channels(command, args),
    };
    let looks_further = matches!(command.name, "sort" | "sort_ro");
    (
        user.check(&question),
        looks_further && user.reads_all_keys(&question),
    )
}

/// Whether a user may carry out a command.
///
/// # Errors
/// Why not.
pub(super) fn verdict(
    acl: &Acl,
    user: UserId,
    number: usize,
    command: &Command,
    args: &[&[u8]],
) -> Result<(), Denied> {
    ask(acl, user, number, command, args).0
}

/// Whether a session's user may carry out the command that comes now. To be asked if it is
/// [`alert::LIMITED`]; what is refused goes into the log, as from `client`.
///
/// # Errors
/// Why not.
#[cold]
pub(super) fn check(
    parts: &mut Parts,
    session: &Session,
    now: Now,
    (number, command): (usize, &Command),
    args: &[&[u8]],
    context: Context,
    client: Option<String>,
) -> Result<(), Denied> {
    let (verdict, reads_all) = ask(&parts.acl, session.user, number, command, args);
    parts.reads_all_keys = reads_all;
    let Err(denied) = verdict else {
        return Ok(());
    };
    let word = |at: usize| args.get(at).copied().unwrap_or_default();
    let (reason, object) = match denied {
        Denied::Command => (Reason::Command, command.name.as_bytes()),
        Denied::Key(at) => (Reason::Key, word(at)),
        Denied::Channel(at) => (Reason::Channel, word(at)),
    };
    let user = parts.acl.name(session.user).to_vec();
    let client = client.unwrap_or_else(|| super::describe(parts, session, now));
    note(parts, now, reason, context, object, &user, client);
    Err(denied)
}

/// Remembers that something was refused.
fn note(
    parts: &mut Parts,
    now: Now,
    reason: Reason,
    context: Context,
    object: &[u8],
    user: &[u8],
    client: String,
) {
    let stats = &mut parts.stats;
    match reason {
        Reason::Command => stats.denied_commands += 1,
        Reason::Key => stats.denied_keys += 1,
        Reason::Channel => stats.denied_channels += 1,
        Reason::Auth => stats.auth_failures += 1,
    }
    let entry = Entry {
        count: 1,
        reason,
        context,
        object: acl::Log::kept(object),
        user: acl::Log::kept(user),
        client: client.into_bytes().into(),
        id: 0,
        created_ms: now.unix_ms(),
        updated_ms: now.unix_ms(),
    };
    parts.acl_log.add(entry, parts.config.acllog_max_len);
}

/// The reply to a command that is refused by itself, or when it is queued.
pub(super) fn refusal(denied: Denied, command: &Command) -> CommandError {
    match denied {
        Denied::Command => CommandError::text(alloc::format!(
            "NOPERM this user has no permissions to run the '{}' command",
            command.name
        )),
        Denied::Key(_) => CommandError::fixed(
            "NOPERM this user has no permissions to access one of the keys used as arguments",
        ),
        Denied::Channel(_) => CommandError::fixed(
            "NOPERM this user has no permissions to access one of the channels used as arguments",
        ),
    }
}

/// The reply to a command that was queued, and is no longer allowed when EXEC comes.
pub(super) fn late_refusal(denied: Denied) -> CommandError {
    CommandError::text(alloc::format!(
        "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command \
         is no longer allowed for the following reason: {}",
        match denied {
            Denied::Command => "no permission to execute the command or subcommand",
            Denied::Key(_) => "no permission to touch the specified keys",
            Denied::Channel(_) => "no permission to access one of the channels used as arguments",
        }
    ))
}

/// The error that a script meets.
pub(super) fn script_refusal(denied: Denied) -> &'static str {
    match denied {
        Denied::Command => "ERR The user executing the script can't run this command or subcommand",
        Denied::Key(_) => {
            "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments"
        }
        Denied::Channel(_) => {
            "ERR The user executing the script can't publish to the channel mentioned in the command"
        }
    }
}

/// Lets a session in as a user, if the password is right; `word` is the command's name as it was written.
///
/// # Errors
/// It is not.
pub(super) fn authenticate(
    s: &mut Server<'_>,
    word: &[u8],
    name: &[u8],
    password: &[u8],
) -> Result<(), CommandError> {
    let Some(user) = s.parts.acl.authenticate(name, password) else {
        let context = if s.session.is(alert::MULTI) {
            Context::Multi
        } else {
            Context::TopLevel
        };
        let client = super::describe(s.parts, s.session, s.now);
        note(s.parts, s.now, Reason::Auth, context, word, name, client);
        return Err(CommandError::fixed(
            "WRONGPASS invalid username-password pair or user is disabled.",
        ));
    };
    s.session.user = user;
    s.session.authenticated = true;
    settle(&s.parts.acl, s.session);
    Ok(())
}

/// A session begins, or begins anew: it is `default`, and that is all there is to say if no password is asked for.
pub(crate) fn begin(acl: &Acl, session: &mut Session) {
    session.user = UserId::DEFAULT;
    session.authenticated = !acl.wants_authentication();
    settle(acl, session);
}

/// Works out the conditions of a session that depend on users.
fn settle(acl: &Acl, session: &mut Session) {
    if !session.is(alert::TRUSTED) {
        session.set(alert::LIMITED, !acl.is_all_powerful(session.user));
        let unknown = !session.authenticated && acl.wants_authentication();
        session.set(alert::UNAUTHENTICATED, unknown);
    }
}

/// Users were changed: works out anew what depends on them, for everybody. `current` is the session whose command
/// runs.
pub(crate) fn settle_all(parts: &mut Parts, current: Option<&mut Session>) {
    for conn in parts.clients.conns() {
        if let Some(session) = parts.clients.get_mut(conn) {
            settle(&parts.acl, session);
        }
    }
    for session in parts.scripts.sessions() {
        settle(&parts.acl, session);
    }
    if let Some(session) = current {
        settle(&parts.acl, session);
    }
}

/// Users are gone: so are those who came in as one of them.
pub(crate) fn expel(parts: &mut Parts, mut current: Option<&mut Session>, gone: &[UserId]) {
    let close = |acl: &Acl, session: &mut Session| {
        let is_gone = gone.contains(&session.user) && !session.is(alert::TRUSTED);
        if is_gone {
            session.user = UserId::DEFAULT;
            session.authenticated = false;
            settle(acl, session);
        }
        is_gone
    };
    if gone.is_empty() {
        return;
    }
    for conn in parts.clients.conns() {
        if let Some(session) = parts.clients.get_mut(conn)
            && close(&parts.acl, session)
        {
            parts.clients.doom(conn);
        }
    }
    // Its reply is still to come.
    if let Some(session) = &mut current
        && close(&parts.acl, session)
    {
        session.set(alert::CLOSING, true);
    }
}

/// A user may use fewer channels than before, those that match `left`: who is subscribed to others as that user is
/// cut off.
pub(crate) fn cut_off(parts: &mut Parts, current: &mut Session, user: UserId, left: &[Box<[u8]>]) {
    use crate::acl::channel_fits;
    use crate::client::Scope;
    let overdoes = |session: &Session| {
        let mine = session
            .subscriptions
            .as_ref()
            .filter(|_| session.user == user);
        mine.is_some_and(|mine| {
            [Scope::Pattern, Scope::Channel, Scope::Shard]
                .iter()
                .any(|&scope| {
                    let is_pattern = scope == Scope::Pattern;
                    (mine.names(scope).iter()).any(|name| !channel_fits(left, name, is_pattern))
                })
        })
    };
    let cut: Vec<ConnId> = (parts.clients.iter())
        .filter(|session| overdoes(session))
        .map(|session| session.conn)
        .collect();
    cut.into_iter().for_each(|conn| parts.clients.doom(conn));
    if overdoes(current) {
        current.set(alert::CLOSING, true);
    }
}
