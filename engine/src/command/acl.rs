//! ACL: users made, changed, shown and asked about; what was refused; the file that holds them.

use alloc::vec::Vec;

use super::context::{Parts, Server, Wish};
use super::error::CommandError;
use super::execute;
use super::permission;
use super::string::integer;
use super::table::{Outcome, category};
use super::{client, help};
use crate::acl::{DEFAULT, Denied, Selector, has_spaces};
use crate::client::{Blocked, alert};
use crate::config::{AclPubsubDefault, Config};
use crate::face::LogLevel;
use crate::planted::{self, Bug};
use crate::resp::{Output, c_string, shown};

/// Bits of the longest password that GENPASS makes.
const MOST_BITS: i64 = 4096;

/// Whether users are made with all channels.
pub(crate) fn all_channels(config: &Config) -> bool {
    config.acl_pubsub_default == AclPubsubDefault::AllChannels
}

/// Says in the log which rules allow a command with a certain first argument.
pub(crate) fn warn_of_first_args<'a>(parts: &mut Parts, rules: impl Iterator<Item = &'a [u8]>) {
    for rule in rules.filter(|rule| !rule.is_empty()) {
        if parts.acl.catalogue().is_first_arg(rule) {
            let text = alloc::format!(
                "Deprecation warning: Allowing a first arg of an otherwise blocked command is a misuse of ACL and may \
                 get disabled in the future (offender: {})",
                alloc::string::String::from_utf8_lossy(rule)
            );
            parts.log(LogLevel::Warning, text);
        }
    }
}

/// `ACL SETUSER username [rule …]`: all or nothing. <https://redis.io/commands/acl-setuser/>
pub(super) fn setuser(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let (name, rules) = (args[2], &args[3..]);
    if has_spaces(name) {
        return Err(CommandError::fixed(
            "ERR Usernames can't contain spaces or null characters",
        ));
    }
    let acl = &mut s.parts.acl;
    acl.all_channels = all_channels(&s.parts.config);
    let wanted_authentication = acl.wants_authentication();
    let change = (acl.set(name, rules)).map_err(|why| CommandError::showing(&[b"ERR ", &why]))?;
    let open = acl.wants_authentication() == wanted_authentication;
    warn_of_first_args(s.parts, rules.iter().copied());
    if let (Some(before), Some(after)) = (change.before, s.parts.acl.user(change.user)) {
        let left = before.revoked_channels(after);
        if before.is_all_powerful() != after.is_all_powerful() || !open {
            permission::settle_all(s.parts, Some(s.session));
        }
        if let Some(left) = left
            && !planted::is(Bug::KeepsListeners)
        {
            permission::cut_off(s.parts, s.session, change.user, &left);
        }
    }
    s.session.out.ok();
    Ok(())
}

/// `ACL DELUSER username [username …]`. <https://redis.io/commands/acl-deluser/>
pub(super) fn deluser(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let names = &args[2..];
    if names.contains(&DEFAULT) {
        return Err(CommandError::fixed(
            "ERR The 'default' user cannot be removed",
        ));
    }
    let gone: Vec<_> = (names.iter())
        .filter_map(|name| s.parts.acl.remove(name))
        .collect();
    permission::expel(s.parts, Some(s.session), &gone);
    s.session.out.int(gone.len() as i64);
    Ok(())
}

/// `ACL GETUSER username`. <https://redis.io/commands/acl-getuser/>
pub(super) fn getuser(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let acl = &s.parts.acl;
    let out = &mut s.session.out;
    let Some(user) = acl.find(args[2]).and_then(|id| acl.user(id)) else {
        out.null();
        return Ok(());
    };
    let describe = |out: &mut Output, selector: &Selector| {
        out.bulk(b"commands");
        out.bulk(&selector.command_rules(acl.catalogue()));
        out.bulk(b"keys");
        out.bulk(&selector.key_rules());
        out.bulk(b"channels");
        out.bulk(&selector.channel_rules());
    };
    out.map(6);
    out.bulk(b"flags");
    out.set(user.flags().count());
    user.flags().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"passwords");
    out.array(user.passwords().count());
    user.passwords().for_each(|hash| out.bulk(hash.as_bytes()));
    describe(out, user.root());
    out.bulk(b"selectors");
    out.array(user.selectors().len());
    for selector in user.selectors() {
        out.map(3);
        describe(out, selector);
    }
    Ok(())
}

/// `ACL LIST`. <https://redis.io/commands/acl-list/>
pub(super) fn list(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let lines = s.parts.acl.lines();
    s.session.out.array(lines.len());
    lines.iter().for_each(|line| s.session.out.bulk(line));
    Ok(())
}

/// `ACL USERS`. <https://redis.io/commands/acl-users/>
pub(super) fn users(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    s.session.out.array(s.parts.acl.len());
    s.parts
        .acl
        .iter()
        .for_each(|(name, _)| s.session.out.bulk(name));
    Ok(())
}

/// `ACL WHOAMI`. <https://redis.io/commands/acl-whoami/>
pub(super) fn whoami(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    s.session.out.bulk(s.parts.acl.name(s.session.user));
    Ok(())
}

/// `ACL CAT [category]`. <https://redis.io/commands/acl-cat/>
pub(super) fn cat(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let out = &mut s.session.out;
    let catalogue = s.parts.acl.catalogue();
    match args {
        [_, _] => {
            out.array(category::NAMES.len());
            category::NAMES
                .iter()
                .for_each(|(_, name)| out.bulk(name.as_bytes()));
        }
        [_, _, name] => {
            let category = catalogue.category(name).ok_or_else(|| {
                CommandError::showing(&[b"ERR Unknown category '", shown(name), b"'"])
            })?;
            let members: Vec<&str> = (catalogue.rows())
                .filter(|(number, _)| category.members.has(*number))
                .map(|(_, row)| row.name)
                .collect();
            out.array(members.len());
            members.iter().for_each(|name| out.bulk(name.as_bytes()));
        }
        _ => return Err(CommandError::subcommand("ACL", args[1])),
    }
    Ok(())
}

/// `ACL DRYRUN username command [arg …]`. <https://redis.io/commands/acl-dryrun/>
pub(super) fn dryrun(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let (name, words) = (args[2], &args[3..]);
    let user =
        s.parts.acl.find(name).ok_or_else(|| {
            CommandError::showing(&[b"ERR User '", c_string(name), b"' not found"])
        })?;
    let (number, command) = execute::find(s.parts, words).ok_or_else(|| {
        let name = c_string(words[0]);
        CommandError::showing(&[b"ERR Command '", name, b"' not found"])
    })?;
    if !command.arity_ok(words.len()) && !command.has_newer_option(words) {
        return Err(execute::wrong_arity(command));
    }
    let verdict = permission::verdict(&s.parts.acl, user, number, command, words);
    let out = &mut s.session.out;
    let word = |at: usize| c_string(words.get(at).copied().unwrap_or_default());
    let no = &b"This user has no permissions to "[..];
    match verdict {
        Ok(()) => out.ok(),
        Err(Denied::Command) => {
            let name = command.name.as_bytes();
            out.bulk(&[no, b"run the '", name, b"' command"].concat());
        }
        Err(Denied::Key(at)) => out.bulk(&[no, b"access the '", word(at), b"' key"].concat()),
        Err(Denied::Channel(at)) => {
            out.bulk(&[no, b"access the '", word(at), b"' channel"].concat());
        }
    }
    Ok(())
}

/// `ACL GENPASS [bits]`. <https://redis.io/commands/acl-genpass/>
pub(super) fn genpass(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let bits = match args {
        [_, _] => 256,
        [_, _, bits] => integer(bits)?,
        _ => return Err(CommandError::subcommand("ACL", args[1])),
    };
    if !(1..=MOST_BITS).contains(&bits) {
        return Err(CommandError::fixed(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
        ));
    }
    let random = &mut s.parts.random;
    let password: Vec<u8> = (0..(bits + 3) / 4)
        .map(|_| b"0123456789abcdef"[random.below(16) as usize])
        .collect();
    s.session.out.bulk(&password);
    Ok(())
}

/// `ACL LOG [count | RESET]`. <https://redis.io/commands/acl-log/>
pub(super) fn log(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let count = match args {
        [_, _] => 10,
        [_, _, word] if word.eq_ignore_ascii_case(b"reset") => {
            s.parts.acl_log.reset();
            s.session.out.ok();
            return Ok(());
        }
        [_, _, count] => usize::try_from(integer(count)?.max(0)).unwrap_or(usize::MAX),
        _ => return Err(CommandError::subcommand("ACL", args[1])),
    };
    let entries = s.parts.acl_log.entries();
    let out = &mut s.session.out;
    out.array(count.min(entries.len()));
    for entry in entries.iter().take(count) {
        let age_ms = s.now.unix_ms().saturating_sub(entry.updated_ms);
        out.map(10);
        out.bulk(b"count");
        out.int(entry.count as i64);
        let texts: [(&str, &[u8]); 4] = [
            ("reason", entry.reason.name().as_bytes()),
            ("context", entry.context.name().as_bytes()),
            ("object", &entry.object),
            ("username", &entry.user),
        ];
        for (name, text) in texts {
            out.bulk(name.as_bytes());
            out.bulk(text);
        }
        out.bulk(b"age-seconds");
        out.double(age_ms as f64 / 1000.0);
        out.bulk(b"client-info");
        out.bulk(&entry.client);
        // What Redis 7.2 tells besides.
        out.bulk(b"entry-id");
        out.int(entry.id as i64);
        out.bulk(b"timestamp-created");
        out.int(entry.created_ms as i64);
        out.bulk(b"timestamp-last-updated");
        out.int(entry.updated_ms as i64);
    }
    Ok(())
}

/// `ACL LOAD`: the reply comes when the file has been read. <https://redis.io/commands/acl-load/>
pub(super) fn load(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    use_file(s, false)
}

/// `ACL SAVE`: the reply comes when the file is in place. <https://redis.io/commands/acl-save/>
pub(super) fn save(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    use_file(s, true)
}

fn use_file(s: &mut Server<'_>, save: bool) -> Outcome {
    if s.parts.config.aclfile.is_empty() {
        return Err(CommandError::fixed(
            "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL \
             SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in \
             order to store users in the Redis configuration.",
        ));
    }
    let conn = s.session.conn;
    s.parts.wishes.push_back(Wish::AclFile { conn, save });
    if s.session.is(alert::MULTI | alert::TRUSTED) {
        // Nothing waits in a transaction: the log tells how it went.
        s.session.out.ok();
    } else {
        client::block(s, Blocked::AclFile);
    }
    Ok(())
}

/// `ACL HELP`. <https://redis.io/commands/acl-help/>
pub(super) fn help(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    help::help(&mut s.session.out, "ACL", help::ACL);
    Ok(())
}
