//! CLUSTER, and what a client says about where it reads: ASKING, READONLY, READWRITE.
//!
//! The orders are the cluster's ([`crate::cluster`]); here their words are read and their answers written.
//! An order that changes what nodes.conf holds is answered once a crash cannot undo it.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::client::block;
use super::context::Server;
use super::error::CommandError;
use super::help;
use super::string::integer;
use super::table::Outcome;
use crate::client::{Blocked, Session, alert};
use crate::cluster::{Cluster, EndpointType, NodeInfo, Refused, SLOTS, slot_of};
use crate::face::Listener;
use crate::resp::Output;
use crate::value::number::parse_i64;

const DISABLED: CommandError =
    CommandError::fixed("ERR This instance has cluster support disabled");
const INVALID_SLOT: CommandError = CommandError::fixed("ERR Invalid or out of range slot");

impl From<Refused> for CommandError {
    fn from(refused: Refused) -> CommandError {
        CommandError::text(refused.0)
    }
}

/// The cluster, told how things are.
fn cluster<'a>(s: &'a mut Server<'_>) -> Result<&'a mut Cluster, CommandError> {
    let view = s.parts.view(s.now);
    let cluster = s.parts.cluster.as_deref_mut().ok_or(DISABLED)?;
    // What an earlier command of the same turn wanted is carried out after the turn.
    if cluster.is_quiet() {
        cluster.observe(s.now, &view);
    }
    Ok(cluster)
}

/// The cluster, to be asked, and the session.
fn ask<'a>(s: &'a mut Server<'_>) -> Result<(&'a Cluster, &'a mut Session), CommandError> {
    let cluster = s.parts.cluster.as_deref().ok_or(DISABLED)?;
    Ok((cluster, s.session))
}

/// Whether a client speaks plain text, which matters in a TLS cluster.
pub(super) fn is_plain(session: &Session) -> bool {
    session.listener != Listener::Tls
}

/// Replies once nodes.conf holds what was ordered.
fn reply_when_durable(s: &mut Server<'_>, reply: &str, saving: bool) {
    let durable = (s.parts.cluster.as_ref()).map_or((0, 0), |c| (c.durable(), c.version()));
    let at_once = s.session.alerts & (alert::MULTI | alert::MUTED | alert::TRUSTED) != 0;
    if at_once || durable.0 >= durable.1 {
        return s.session.out.simple(reply);
    }
    s.parts.config_waits.push((s.session.conn, durable.1));
    let reply = reply.to_string();
    block(s, Blocked::Config { reply, saving });
}

/// Replies OK once nodes.conf holds what was ordered.
fn ok_when_durable(s: &mut Server<'_>) -> Outcome {
    reply_when_durable(s, "OK", false);
    Ok(())
}

pub(super) fn slot(word: &[u8]) -> Result<u16, CommandError> {
    let slot = parse_i64(word).and_then(|n| u16::try_from(n).ok());
    slot.filter(|&n| n < SLOTS).ok_or(INVALID_SLOT)
}

/// The slots of this node, or of the primary that it follows, in order.
pub(super) fn slots_of_shard(s: &mut Server<'_>) -> Result<Vec<u16>, CommandError> {
    let (cluster, _) = ask(s)?;
    let nodes = cluster.nodes();
    let primary = nodes
        .primary_of(nodes.my_key())
        .and_then(|key| nodes.get(key));
    Ok(primary.map_or_else(Vec::new, |node| node.slots.iter().collect()))
}

/// How many keys the database holds.
fn keys(s: &Server<'_>) -> usize {
    s.parts.store.database(0).len()
}

/// `CLUSTER ADDSLOTS slot [slot …]`. <https://redis.io/commands/cluster-addslots/>
pub(super) fn addslots(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let now = s.now;
    let cluster = cluster(s)?;
    cluster.add_slots(now, &single_slots(&args[2..])?)?;
    ok_when_durable(s)
}

/// `CLUSTER DELSLOTS slot [slot …]`. <https://redis.io/commands/cluster-delslots/>
pub(super) fn delslots(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let now = s.now;
    let cluster = cluster(s)?;
    cluster.delete_slots(now, &single_slots(&args[2..])?)?;
    ok_when_durable(s)
}

fn single_slots(words: &[&[u8]]) -> Result<Vec<(u16, u16)>, CommandError> {
    let pair = |word: &&[u8]| slot(word).map(|n| (n, n));
    words.iter().map(pair).collect()
}

/// `CLUSTER ADDSLOTSRANGE start end [start end …]`. <https://redis.io/commands/cluster-addslotsrange/>
pub(super) fn addslotsrange(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let now = s.now;
    let cluster = cluster(s)?;
    cluster.add_slots(now, &slot_ranges("cluster|addslotsrange", &args[2..])?)?;
    ok_when_durable(s)
}

/// `CLUSTER DELSLOTSRANGE start end [start end …]`. <https://redis.io/commands/cluster-delslotsrange/>
pub(super) fn delslotsrange(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let now = s.now;
    let cluster = cluster(s)?;
    cluster.delete_slots(now, &slot_ranges("cluster|delslotsrange", &args[2..])?)?;
    ok_when_durable(s)
}

fn slot_ranges(command: &str, words: &[&[u8]]) -> Result<Vec<(u16, u16)>, CommandError> {
    let (pairs, odd) = words.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(CommandError::text(format!(
            "ERR wrong number of arguments for '{command}' command"
        )));
    }
    let pair = |[first, last]: &[&[u8]; 2]| Ok((slot(first)?, slot(last)?));
    pairs.iter().map(pair).collect()
}

/// `CLUSTER FLUSHSLOTS`. <https://redis.io/commands/cluster-flushslots/>
pub(super) fn flushslots(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let (now, keys) = (s.now, keys(s));
    cluster(s)?.flush_slots(now, keys)?;
    ok_when_durable(s)
}

/// `CLUSTER SETSLOT slot IMPORTING node | MIGRATING node | NODE node | STABLE`.
/// <https://redis.io/commands/cluster-setslot/>
pub(super) fn setslot(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let now = s.now;
    if cluster(s)?.is_replica() {
        return Err(CommandError::fixed(
            "ERR Please use SETSLOT only with masters.",
        ));
    }
    let slot = slot(args[2])?;
    let is = |name: &[u8]| args[3].eq_ignore_ascii_case(name);
    match args.get(4) {
        Some(id) if args.len() == 5 && is(b"migrating") => {
            cluster(s)?.set_slot_migrating(now, slot, id)?;
        }
        Some(id) if args.len() == 5 && is(b"importing") => {
            cluster(s)?.set_slot_importing(now, slot, id)?;
        }
        Some(id) if args.len() == 5 && is(b"node") => {
            let (keys, _) = s.parts.store.slot_keys(slot, 0);
            cluster(s)?.set_slot_node(now, slot, id, keys)?;
        }
        None if is(b"stable") => cluster(s)?.set_slot_stable(now, slot)?,
        _ => {
            return Err(CommandError::fixed(
                "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
            ));
        }
    }
    ok_when_durable(s)
}

/// `CLUSTER BUMPEPOCH`. <https://redis.io/commands/cluster-bumpepoch/>
pub(super) fn bumpepoch(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let now = s.now;
    match cluster(s)?.bump_config_epoch(now) {
        (true, epoch) => reply_when_durable(s, &format!("BUMPED {epoch}"), false),
        (false, epoch) => s.session.out.simple(&format!("STILL {epoch}")),
    }
    Ok(())
}

/// `CLUSTER SET-CONFIG-EPOCH epoch`. <https://redis.io/commands/cluster-set-config-epoch/>
pub(super) fn set_config_epoch(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let now = s.now;
    let cluster = cluster(s)?;
    cluster.set_config_epoch(now, integer(args[2])?)?;
    ok_when_durable(s)
}

/// `CLUSTER SAVECONFIG`. <https://redis.io/commands/cluster-saveconfig/>
pub(super) fn saveconfig(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let now = s.now;
    cluster(s)?.save_config(now);
    reply_when_durable(s, "OK", true);
    Ok(())
}

/// `CLUSTER MEET ip port [bus-port]`. <https://redis.io/commands/cluster-meet/>
pub(super) fn meet(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let now = s.now;
    let cluster = cluster(s)?;
    if args.len() > 5 {
        return Err(CommandError::subcommand("CLUSTER", args[1]));
    }
    let port = |what: &[u8], word: &[u8]| {
        parse_i64(word).ok_or_else(|| {
            CommandError::showing(&[b"ERR Invalid TCP ", what, b" port specified: ", word])
        })
    };
    let base = port(b"base", args[3])?;
    let bus = args.get(4).map(|word| port(b"bus", word)).transpose()?;
    cluster.meet(now, args[2], base, bus)?;
    s.session.out.ok();
    Ok(())
}

/// `CLUSTER FORGET node`. <https://redis.io/commands/cluster-forget/>
pub(super) fn forget(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let now = s.now;
    cluster(s)?.forget_node(now, args[2])?;
    ok_when_durable(s)
}

/// `CLUSTER REPLICATE node`. <https://redis.io/commands/cluster-replicate/>
pub(super) fn replicate(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let (now, keys) = (s.now, keys(s));
    cluster(s)?.replicate(now, args[2], keys)?;
    ok_when_durable(s)
}

/// `CLUSTER FAILOVER [FORCE | TAKEOVER]`. <https://redis.io/commands/cluster-failover/>
pub(super) fn failover(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let now = s.now;
    let cluster = cluster(s)?;
    let (force, takeover) = match args {
        [_, _] => (false, false),
        [_, _, word] if word.eq_ignore_ascii_case(b"force") => (true, false),
        [_, _, word] if word.eq_ignore_ascii_case(b"takeover") => (true, true),
        [_, _, _] => return Err(CommandError::SYNTAX),
        _ => return Err(CommandError::subcommand("CLUSTER", args[1])),
    };
    cluster.failover(now, force, takeover)?;
    s.session.out.ok();
    Ok(())
}

/// `CLUSTER RESET [HARD | SOFT]`. <https://redis.io/commands/cluster-reset/>
pub(super) fn reset(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let (now, keys) = (s.now, keys(s));
    let cluster = cluster(s)?;
    let hard = match args {
        [_, _] => false,
        [_, _, word] if word.eq_ignore_ascii_case(b"hard") => true,
        [_, _, word] if word.eq_ignore_ascii_case(b"soft") => false,
        [_, _, _] => return Err(CommandError::SYNTAX),
        _ => return Err(CommandError::subcommand("CLUSTER", args[1])),
    };
    cluster.reset(now, hard, keys)?;
    ok_when_durable(s)
}

/// `CLUSTER COUNT-FAILURE-REPORTS node`. <https://redis.io/commands/cluster-count-failure-reports/>
pub(super) fn count_failure_reports(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let now = s.now;
    let reports = cluster(s)?.failure_reports(now, args[2])?;
    s.session.out.int(reports as i64);
    Ok(())
}

/// `CLUSTER KEYSLOT key`. <https://redis.io/commands/cluster-keyslot/>
pub(super) fn keyslot(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let (_, session) = ask(s)?;
    session.out.int(i64::from(slot_of(args[2])));
    Ok(())
}

/// `CLUSTER COUNTKEYSINSLOT slot`. <https://redis.io/commands/cluster-countkeysinslot/>
pub(super) fn countkeysinslot(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    ask(s)?;
    let slot = integer(args[2])?;
    if !(0..i64::from(SLOTS)).contains(&slot) {
        return Err(CommandError::fixed("ERR Invalid slot"));
    }
    let (count, _) = s.parts.store.slot_keys(slot as u16, 0);
    s.session.out.int(count as i64);
    Ok(())
}

/// `CLUSTER GETKEYSINSLOT slot count`. <https://redis.io/commands/cluster-getkeysinslot/>
pub(super) fn getkeysinslot(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    ask(s)?;
    let (slot, limit) = (integer(args[2])?, integer(args[3])?);
    let (Some(slot), Ok(limit)) = (
        u16::try_from(slot).ok().filter(|&n| n < SLOTS),
        usize::try_from(limit),
    ) else {
        return Err(CommandError::fixed("ERR Invalid slot or number of keys"));
    };
    let (_, keys) = s.parts.store.slot_keys(slot, limit);
    s.session.out.array(keys.len());
    keys.iter().for_each(|key| s.session.out.bulk(key));
    Ok(())
}

/// `CLUSTER MYID`. <https://redis.io/commands/cluster-myid/>
pub(super) fn myid(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let (cluster, session) = ask(s)?;
    session.out.bulk(cluster.my_name().as_bytes());
    Ok(())
}

/// `CLUSTER MYSHARDID`. <https://redis.io/commands/cluster-myshardid/>
pub(super) fn myshardid(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let (cluster, session) = ask(s)?;
    session.out.bulk(cluster.my_shard().as_bytes());
    Ok(())
}

/// `CLUSTER INFO`. <https://redis.io/commands/cluster-info/>
pub(super) fn info(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let now = s.now;
    let (cluster, session) = ask(s)?;
    session.out.verbatim(cluster.info(now).as_bytes());
    Ok(())
}

/// `CLUSTER NODES`. <https://redis.io/commands/cluster-nodes/>
pub(super) fn nodes(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let (cluster, session) = ask(s)?;
    let text = cluster.nodes_text(is_plain(session));
    session.out.verbatim(text.as_bytes());
    Ok(())
}

/// `CLUSTER REPLICAS node`. <https://redis.io/commands/cluster-replicas/>
pub(super) fn replicas(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let (cluster, session) = ask(s)?;
    let lines = cluster.replicas(args[2], is_plain(session))?;
    session.out.array(lines.len());
    (lines.iter()).for_each(|line| session.out.bulk(line.as_bytes()));
    Ok(())
}

/// `CLUSTER SLAVES node`: REPLICAS' old name. <https://redis.io/commands/cluster-slaves/>
pub(super) fn slaves(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    replicas(s, args)
}

/// `CLUSTER SLOTS`. <https://redis.io/commands/cluster-slots/>
pub(super) fn slots(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let (cluster, session) = ask(s)?;
    let ranges = cluster.slot_ranges(is_plain(session));
    let preferred = cluster.settings().preferred_endpoint;
    let out = &mut session.out;
    out.array(ranges.len());
    for range in &ranges {
        out.array(2 + range.nodes.len());
        out.int(i64::from(range.first));
        out.int(i64::from(range.last));
        for node in &range.nodes {
            node_of_range(out, node, preferred);
        }
    }
    Ok(())
}

fn node_of_range(out: &mut Output, node: &NodeInfo, preferred: EndpointType) {
    out.array(4);
    match &node.endpoint {
        Some(endpoint) => out.bulk(endpoint.as_bytes()),
        None => out.null(),
    }
    out.int(i64::from(node.port));
    out.bulk(node.id.as_bytes());
    let ip = (preferred != EndpointType::Ip).then_some(("ip", &node.ip));
    let named = preferred != EndpointType::Hostname && !node.hostname.is_empty();
    let hostname = named.then_some(("hostname", &node.hostname));
    let more: Vec<_> = [ip, hostname].into_iter().flatten().collect();
    out.map(more.len());
    for (name, value) in more {
        out.bulk(name.as_bytes());
        out.bulk(value.as_bytes());
    }
}

/// `CLUSTER SHARDS`. <https://redis.io/commands/cluster-shards/>
pub(super) fn shards(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let (cluster, session) = ask(s)?;
    let shards = cluster.shards(is_plain(session));
    let out = &mut session.out;
    out.array(shards.len());
    for shard in &shards {
        out.map(2);
        out.bulk(b"slots");
        out.array(shard.slots.len() * 2);
        for &(first, last) in &shard.slots {
            out.int(i64::from(first));
            out.int(i64::from(last));
        }
        out.bulk(b"nodes");
        out.array(shard.nodes.len());
        for node in &shard.nodes {
            node_of_shard(out, node);
        }
    }
    Ok(())
}

fn node_of_shard(out: &mut Output, node: &NodeInfo) {
    let ports = [("port", node.plain_port), ("tls-port", node.tls_port)];
    let ports = ports.iter().filter(|(_, port)| *port != 0);
    let named = !node.hostname.is_empty();
    out.map(6 + ports.clone().count() + usize::from(named));
    out.bulk(b"id");
    out.bulk(node.id.as_bytes());
    for (name, port) in ports {
        out.bulk(name.as_bytes());
        out.int(i64::from(*port));
    }
    out.bulk(b"ip");
    out.bulk(node.ip.as_bytes());
    out.bulk(b"endpoint");
    out.bulk(node.endpoint.as_deref().unwrap_or_default().as_bytes());
    if named {
        out.bulk(b"hostname");
        out.bulk(node.hostname.as_bytes());
    }
    out.bulk(b"role");
    out.bulk(if node.replica { b"replica" } else { b"master" });
    out.bulk(b"replication-offset");
    out.int(node.offset as i64);
    out.bulk(b"health");
    out.bulk(node.health.name().as_bytes());
}

/// `CLUSTER LINKS`. <https://redis.io/commands/cluster-links/>
///
/// What waits to be sent is what waited a moment ago: it is looked at ten times a second.
pub(super) fn links(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let (cluster, session) = ask(s)?;
    let links = cluster.link_infos();
    let out = &mut session.out;
    out.array(links.len());
    for link in links {
        out.map(6);
        out.bulk(b"direction");
        out.bulk(if link.inbound { b"from" } else { b"to" });
        out.bulk(b"node");
        out.bulk(link.node.as_bytes());
        out.bulk(b"create-time");
        out.int(link.create_time_ms as i64);
        out.bulk(b"events");
        out.bulk(if link.unsent > 0 { b"rw" } else { b"r" });
        for name in [&b"send-buffer-allocated"[..], b"send-buffer-used"] {
            out.bulk(name);
            out.int(link.unsent as i64);
        }
    }
    Ok(())
}

/// `CLUSTER HELP`. <https://redis.io/commands/cluster-help/>
pub(super) fn help(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let (_, session) = ask(s)?;
    help::help(&mut session.out, "CLUSTER", help::CLUSTER);
    Ok(())
}

/// `ASKING`. <https://redis.io/commands/asking/>
pub(super) fn asking(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    say(s, alert::ASKING, true)
}

/// `READONLY`. <https://redis.io/commands/readonly/>
pub(super) fn readonly(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    say(s, alert::READONLY, true)
}

/// `READWRITE`. <https://redis.io/commands/readwrite/>
pub(super) fn readwrite(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    say(s, alert::READONLY, false)
}

fn say(s: &mut Server<'_>, what: u32, on: bool) -> Outcome {
    let (_, session) = ask(s)?;
    session.set(what, on);
    session.out.ok();
    Ok(())
}
