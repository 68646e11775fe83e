//! Checks of single values that a type and bounds cannot state.

use super::setting::{Reason, yes_no};

/// Reprise does not move live allocations about. Redis says this where it cannot either, and clients
/// and test suites recognise it.
pub(super) fn activedefrag(text: &[u8]) -> Result<(), Reason> {
    match yes_no(text) {
        Some(true) => Err("Active defragmentation cannot be enabled: it requires a Redis server compiled with a \
                           modified Jemalloc like the one shipped by default with the Redis source distribution"
            .into()),
        _ => Ok(()),
    }
}

fn is_base_name(text: &[u8]) -> bool {
    !text.contains(&b'/') && !text.contains(&b'\\')
}

pub(super) fn dbfilename(text: &[u8]) -> Result<(), Reason> {
    if is_base_name(text) {
        Ok(())
    } else {
        Err("dbfilename can't be a path, just a filename".into())
    }
}

pub(super) fn appendfilename(text: &[u8]) -> Result<(), Reason> {
    if text.is_empty() {
        Err("appendfilename can't be empty".into())
    } else if !is_base_name(text) {
        Err("appendfilename can't be a path, just a filename".into())
    } else {
        Ok(())
    }
}

pub(super) fn appenddirname(text: &[u8]) -> Result<(), Reason> {
    if text.is_empty() {
        Err("appenddirname can't be empty".into())
    } else if !is_base_name(text) {
        Err("appenddirname can't be a path, just a dirname".into())
    } else {
        Ok(())
    }
}

pub(super) fn announced_hostname(text: &[u8]) -> Result<(), Reason> {
    const LIMIT: usize = 256;
    if text.len() >= LIMIT {
        Err("Hostnames must be less than 256 characters".into())
    } else if text
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
    {
        Ok(())
    } else {
        Err("Hostnames may only contain alphanumeric characters, hyphens or dots".into())
    }
}

/// `{{` stands for a brace, `{name}` for a variable; the result must not be blank.
pub(super) fn proc_title_template(text: &[u8]) -> Result<(), Reason> {
    const VARIABLES: [&[u8]; 7] = [
        b"title",
        b"listen-addr",
        b"server-mode",
        b"port",
        b"tls-port",
        b"unixsocket",
        b"config-file",
    ];
    const INVALID: &str = "template format is invalid or contains unknown variables";
    let mut rest = text;
    while let Some(open) = rest.iter().position(|&b| b == b'{') {
        rest = &rest[open + 1..];
        if let [b'{', tail @ ..] = rest {
            rest = tail;
            continue;
        }
        let close = rest.iter().position(|&b| b == b'}').ok_or(INVALID)?;
        if !VARIABLES
            .iter()
            .any(|name| rest[..close].eq_ignore_ascii_case(name))
        {
            return Err(INVALID.into());
        }
        rest = &rest[close + 1..];
    }
    if text.iter().all(|&b| b == b' ') {
        Err(INVALID.into())
    } else {
        Ok(())
    }
}
