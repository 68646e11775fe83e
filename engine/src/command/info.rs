//! INFO: the server's state in lines `field:value`, by sections; one function for each section.
//!
//! The fields, their order and their forms are those of Redis 7.0.15; two of our own stand at the end of
//! their sections, and the section on the values' sizes is Redis 8's. What has no counterpart here (forks, threads, scripts, active defragmentation) is a
//! constant. <https://redis.io/commands/info/>

use alloc::format;
use alloc::string::String;
use core::fmt::{Result, Write};

use super::context::{Parts, Server, condition};
use super::memory;
use super::table::Outcome;
use crate::client::{Census, Scope, Session};
use crate::config::{Config, Supervised};
use crate::face::Now;

/// Whose state is reported, and to whom.
struct Report<'a> {
    now: Now,
    parts: &'a Parts,
    /// The client that asks; it is not among `parts.clients` meanwhile.
    asking: Option<&'a Session>,
}

type Section = fn(&Report<'_>, &mut String) -> Result;

/// Whether a section is shown without its being named: in any case, with all others, or not at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Always,
    WithAll,
    Never,
}

/// The sections in their order: name in the request, title, when it is shown, lines.
const SECTIONS: &[(&str, &str, Shown, Section)] = &[
    ("server", "Server", Shown::Always, server),
    ("clients", "Clients", Shown::Always, clients),
    ("memory", "Memory", Shown::Always, |s, out| {
        memory::info(s.parts, s.asking, out)
    }),
    ("persistence", "Persistence", Shown::Always, persistence),
    ("stats", "Stats", Shown::Always, stats),
    ("replication", "Replication", Shown::Always, replication),
    ("cpu", "CPU", Shown::Always, cpu),
    ("modules", "Modules", Shown::Always, |_, _| Ok(())),
    ("commandstats", "Commandstats", Shown::WithAll, commandstats),
    ("errorstats", "Errorstats", Shown::Always, errorstats),
    ("latencystats", "Latencystats", Shown::WithAll, latencystats),
    ("cluster", "Cluster", Shown::Always, cluster),
    ("keyspace", "Keyspace", Shown::Always, keyspace),
    ("keysizes", "Keysizes", Shown::Always, keysizes),
    ("debug", "Debug", Shown::Never, debug),
];

/// `INFO [section …]`.
pub(super) fn info(s: &mut Server<'_>, args: &[&[u8]]) -> Outcome {
    let asked = |name: &str| {
        args[1..]
            .iter()
            .any(|arg| arg.eq_ignore_ascii_case(name.as_bytes()))
    };
    let everything = asked("all") || asked("everything");
    let default = args.len() == 1 || asked("default");
    let report = Report {
        now: s.now,
        parts: s.parts,
        asking: Some(s.session),
    };
    let text = sections(&report, |name, shown| {
        asked(name)
            || match shown {
                Shown::Always => everything || default,
                Shown::WithAll => everything,
                Shown::Never => false,
            }
    });
    s.session.out.verbatim(text.as_bytes());
    Ok(())
}

/// All sections, as nobody in particular asks for them.
pub(super) fn report(parts: &Parts, now: Now) -> String {
    let report = Report {
        now,
        parts,
        asking: None,
    };
    sections(&report, |_, _| true)
}

fn sections(report: &Report<'_>, wanted: impl Fn(&str, Shown) -> bool) -> String {
    let mut text = String::new();
    for &(name, title, shown, lines) in SECTIONS {
        if wanted(name, shown) {
            if !text.is_empty() {
                text += "\r\n";
            }
            text += &format!("# {title}\r\n");
            // Writing to a string cannot fail.
            let _ = lines(report, &mut text);
        }
    }
    text
}

/// `TIME`. <https://redis.io/commands/time/>
pub(super) fn time(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let now_us = s.now.unix_us;
    let out = &mut s.session.out;
    out.array(2);
    out.bulk_int((now_us / 1_000_000) as i64);
    out.bulk_int((now_us % 1_000_000) as i64);
    Ok(())
}

fn server(s: &Report<'_>, out: &mut String) -> Result {
    let config = &s.parts.config;
    let up_s = s.now.mono_us.saturating_sub(s.parts.started.mono_us) / 1_000_000;
    let mode = if config.cluster_enabled {
        "cluster"
    } else {
        "standalone"
    };
    let os = match &*config.os {
        "" if cfg!(target_os = "macos") => "Darwin",
        "" => "Linux",
        os => os,
    };
    write!(
        out,
        "redis_version:{}\r\n\
         redis_git_sha1:00000000\r\n\
         redis_git_dirty:0\r\n\
         redis_build_id:0000000000000000\r\n\
         redis_mode:{mode}\r\n\
         os:{}\r\n\
         arch_bits:{}\r\n\
         monotonic_clock:POSIX clock_gettime\r\n\
         multiplexing_api:epoll\r\n\
         atomicvar_api:c11-builtin\r\n\
         gcc_version:0.0.0\r\n\
         process_id:{}\r\n\
         process_supervised:{}\r\n\
         run_id:{}\r\n\
         tcp_port:{}\r\n\
         server_time_usec:{}\r\n\
         uptime_in_seconds:{up_s}\r\n\
         uptime_in_days:{}\r\n\
         hz:{}\r\n\
         configured_hz:{}\r\n\
         lru_clock:{}\r\n\
         executable:{}\r\n\
         config_file:{}\r\n\
         io_threads_active:0\r\n\
         reprise_version:{}\r\n",
        crate::REDIS_VERSION,
        os,
        usize::BITS,
        s.parts.memory_report.process_id,
        match config.supervised {
            Supervised::Upstart => "upstart",
            Supervised::Systemd => "systemd",
            _ => "no",
        },
        core::str::from_utf8(&s.parts.run_id).unwrap_or_default(),
        if config.port > 0 {
            config.port
        } else {
            config.tls_port
        },
        s.now.unix_us,
        up_s / 86_400,
        config.hz,
        config.hz,
        (s.now.unix_us / 1_000_000) & 0xFF_FFFF,
        config.executable,
        config.config_file,
        env!("CARGO_PKG_VERSION"),
    )?;
    let listeners = [
        ("tcp", config.port, &config.bind.0),
        ("tls", config.tls_port, &config.bind.0),
    ];
    let mut n = 0;
    for (name, port, addresses) in listeners.into_iter().filter(|(_, port, _)| *port > 0) {
        write!(out, "listener{n}:name={name}")?;
        for address in addresses {
            write!(out, ",bind={address}")?;
        }
        write!(out, ",port={port}\r\n")?;
        n += 1;
    }
    if !config.unixsocket.is_empty() {
        write!(out, "listener{n}:name=unix,bind={}\r\n", config.unixsocket)?;
    }
    match s.parts.shutdown_deadline_us {
        Some(due_us) => {
            let left_ms = due_us.saturating_sub(s.now.mono_us) / 1000;
            write!(out, "shutdown_in_milliseconds:{left_ms}\r\n")
        }
        None => Ok(()),
    }
}

/// The sums over all sessions: of those that are not taken out, the one that asks, and the link to our primary.
pub(super) fn census(parts: &Parts, asking: Option<&Session>) -> Census {
    let mut census = parts.clients.census();
    let others = [asking, parts.primary.as_deref()];
    others.into_iter().flatten().for_each(|s| census.add(s));
    census
}

fn clients(s: &Report<'_>, out: &mut String) -> Result {
    let census = census(s.parts, s.asking);
    let watches = &s.parts.watches;
    write!(
        out,
        "connected_clients:{}\r\n\
         cluster_connections:{}\r\n\
         maxclients:{}\r\n\
         client_recent_max_input_buffer:{}\r\n\
         client_recent_max_output_buffer:{}\r\n\
         blocked_clients:{}\r\n\
         tracking_clients:{}\r\n\
         pubsub_clients:{}\r\n\
         watching_clients:{}\r\n\
         clients_in_timeout_table:{}\r\n\
         total_watched_keys:{}\r\n\
         total_blocking_keys:{}\r\n\
         total_blocking_keys_on_nokey:{}\r\n",
        s.parts.clients.len() + usize::from(s.parts.primary.is_some()) - census.replicas,
        s.parts.cluster.as_ref().map_or(0, |c| c.connections()),
        s.parts.config.maxclients,
        census.largest_query,
        census.largest_output,
        census.blocked,
        s.parts.watches.tracking.clients(),
        census.subscribed,
        watches.watchers(),
        census.timed,
        watches.len(),
        watches.waits.keys(),
        watches.waits.keys_of_groups(),
    )
}

/// A directive's value.
pub(super) fn named(config: &Config, name: &[u8]) -> String {
    let found = config.get(&[name]).pop();
    found.map_or_else(String::new, |(_, value)| {
        String::from_utf8_lossy(&value).into_owned()
    })
}

fn persistence(s: &Report<'_>, out: &mut String) -> Result {
    let info = s.parts.persistence.info(s.now, s.parts.changes);
    let status = |ok| if ok { "ok" } else { "err" };
    write!(
        out,
        "loading:{}\r\n\
         async_loading:0\r\n\
         current_cow_peak:0\r\n\
         current_cow_size:0\r\n\
         current_cow_size_age:0\r\n\
         current_fork_perc:{:.2}\r\n\
         current_save_keys_processed:{}\r\n\
         current_save_keys_total:{}\r\n\
         rdb_changes_since_last_save:{}\r\n\
         rdb_bgsave_in_progress:{}\r\n\
         rdb_last_save_time:{}\r\n\
         rdb_last_bgsave_status:{}\r\n\
         rdb_last_bgsave_time_sec:{}\r\n\
         rdb_current_bgsave_time_sec:{}\r\n\
         rdb_saves:{}\r\n\
         rdb_last_cow_size:0\r\n\
         rdb_last_load_keys_expired:{}\r\n\
         rdb_last_load_keys_loaded:{}\r\n",
        u8::from(info.loading || s.parts.is(condition::LOADING)),
        info.walked.percent(),
        info.walked.keys,
        info.walked.total,
        info.rdb_changes_since_last_save,
        u8::from(info.rdb_bgsave_in_progress),
        info.rdb_last_save_time,
        status(info.rdb_last_bgsave_ok),
        info.rdb_last_bgsave_time_sec,
        info.rdb_current_bgsave_time_sec,
        info.rdb_saves,
        info.rdb_last_load_keys_expired,
        info.rdb_last_load_keys_loaded,
    )?;
    write!(
        out,
        "aof_enabled:{}\r\n\
         aof_rewrite_in_progress:{}\r\n\
         aof_rewrite_scheduled:{}\r\n\
         aof_last_rewrite_time_sec:{}\r\n\
         aof_current_rewrite_time_sec:{}\r\n\
         aof_last_bgrewrite_status:{}\r\n\
         aof_rewrites:{}\r\n\
         aof_rewrites_consecutive_failures:{}\r\n\
         aof_last_write_status:{}\r\n\
         aof_last_cow_size:0\r\n\
         module_fork_in_progress:0\r\n\
         module_fork_last_cow_size:0\r\n",
        u8::from(info.aof_enabled),
        u8::from(info.aof_rewrite_in_progress),
        u8::from(info.aof_rewrite_scheduled),
        info.aof_last_rewrite_time_sec,
        info.aof_current_rewrite_time_sec,
        status(info.aof_last_bgrewrite_ok),
        info.aof_rewrites,
        info.aof_rewrites_consecutive_failures,
        status(info.aof_last_write_ok),
    )?;
    if let Some(aof) = &info.aof {
        write!(
            out,
            "aof_current_size:{}\r\n\
             aof_base_size:{}\r\n\
             aof_pending_rewrite:0\r\n\
             aof_buffer_length:{}\r\n\
             aof_pending_bio_fsync:{}\r\n\
             aof_delayed_fsync:{}\r\n",
            aof.current_size,
            aof.base_size,
            aof.buffer_length,
            aof.pending_fsync,
            aof.delayed_fsync,
        )?;
    }
    if let Some(loading) = &info.while_loading {
        write!(
            out,
            "loading_start_time:{}\r\n\
             loading_total_bytes:{}\r\n\
             loading_rdb_used_mem:{}\r\n\
             loading_loaded_bytes:{}\r\n\
             loading_loaded_perc:{:.2}\r\n\
             loading_eta_seconds:{}\r\n",
            loading.start_time,
            loading.total_bytes,
            loading.rdb_used_mem,
            loading.loaded_bytes,
            loading.loaded_perc,
            loading.eta_seconds,
        )?;
    }
    Ok(())
}

fn stats(s: &Report<'_>, out: &mut String) -> Result {
    let stats = &s.parts.stats;
    let sync = s.parts.replication.stats();
    let kilobytes = |rate: usize| stats.rates[rate].mean() as f64 / 1024.0;
    write!(
        out,
        "total_connections_received:{}\r\n\
         total_commands_processed:{}\r\n\
         instantaneous_ops_per_sec:{}\r\n\
         total_net_input_bytes:{}\r\n\
         total_net_output_bytes:{}\r\n\
         total_net_repl_input_bytes:{}\r\n\
         total_net_repl_output_bytes:{}\r\n\
         instantaneous_input_kbps:{:.2}\r\n\
         instantaneous_output_kbps:{:.2}\r\n\
         instantaneous_input_repl_kbps:{:.2}\r\n\
         instantaneous_output_repl_kbps:{:.2}\r\n\
         rejected_connections:{}\r\n\
         sync_full:{}\r\n\
         sync_partial_ok:{}\r\n\
         sync_partial_err:{}\r\n",
        stats.connections,
        stats.processed,
        stats.rates[0].mean(),
        stats.bytes_in,
        stats.bytes_out,
        stats.replication_in,
        stats.replication_out,
        kilobytes(1),
        kilobytes(2),
        kilobytes(3),
        kilobytes(4),
        stats.rejected_connections,
        sync.sync_full,
        sync.sync_partial_ok,
        sync.sync_partial_err,
    )?;
    let subscribed = |scope| s.parts.channels.all(scope).len();
    write!(
        out,
        "expired_keys:{}\r\n\
         expired_subkeys:{}\r\n\
         expired_stale_perc:0.00\r\n\
         expired_time_cap_reached_count:0\r\n\
         expire_cycle_cpu_milliseconds:0\r\n\
         evicted_keys:{}\r\n\
         evicted_clients:{}\r\n\
         total_eviction_exceeded_time:0\r\n\
         current_eviction_exceeded_time:0\r\n\
         keyspace_hits:{}\r\n\
         keyspace_misses:{}\r\n\
         pubsub_channels:{}\r\n\
         pubsub_patterns:{}\r\n\
         pubsubshard_channels:{}\r\n\
         latest_fork_usec:0\r\n\
         total_forks:0\r\n\
         migrate_cached_sockets:{}\r\n\
         slave_expires_tracked_keys:{}\r\n\
         active_defrag_hits:0\r\n\
         active_defrag_misses:0\r\n\
         active_defrag_key_hits:0\r\n\
         active_defrag_key_misses:0\r\n\
         total_active_defrag_time:0\r\n\
         current_active_defrag_time:0\r\n\
         tracking_total_keys:{}\r\n\
         tracking_total_items:{}\r\n\
         tracking_total_prefixes:{}\r\n",
        stats.expired,
        stats.expired_fields,
        stats.evicted,
        stats.evicted_clients,
        stats.hits,
        stats.misses,
        subscribed(Scope::Channel),
        subscribed(Scope::Pattern),
        subscribed(Scope::Shard),
        s.parts.transfers.connections(),
        s.parts.own_keys.len(),
        s.parts.watches.tracking.keys(),
        s.parts.watches.tracking.items(),
        s.parts.watches.tracking.prefixes(),
    )?;
    write!(
        out,
        "unexpected_error_replies:0\r\n\
         total_error_replies:{}\r\n\
         dump_payload_sanitizations:0\r\n\
         total_reads_processed:{}\r\n\
         total_writes_processed:{}\r\n\
         io_threaded_reads_processed:0\r\n\
         io_threaded_writes_processed:0\r\n\
         client_query_buffer_limit_disconnections:{}\r\n\
         client_output_buffer_limit_disconnections:{}\r\n\
         reply_buffer_shrinks:0\r\n\
         reply_buffer_expands:0\r\n\
         acl_access_denied_auth:{}\r\n\
         acl_access_denied_cmd:{}\r\n\
         acl_access_denied_key:{}\r\n\
         acl_access_denied_channel:{}\r\n\
         eventloop_cycles:{}\r\n\
         eventloop_duration_sum:{}\r\n\
         eventloop_duration_cmd_sum:{}\r\n\
         instantaneous_eventloop_cycles_per_sec:{}\r\n\
         instantaneous_eventloop_duration_usec:{}\r\n\
         longest_turn_cpu_us:{}\r\n",
        stats.error_replies,
        stats.reads,
        stats.writes,
        stats.query_buffer_kills,
        stats.output_buffer_kills,
        stats.auth_failures,
        stats.denied_commands,
        stats.denied_keys,
        stats.denied_channels,
        stats.turns.count,
        stats.turns.total_us,
        stats.turns.requests_us,
        stats.turn_rate.mean(),
        stats.turn_time.mean(),
        stats.longest_turn_cpu_us,
    )
}

/// (The append-only file is not written in the event loop.)
fn debug(s: &Report<'_>, out: &mut String) -> Result {
    let stats = &s.parts.stats;
    write!(
        out,
        "eventloop_duration_aof_sum:0\r\n\
         eventloop_duration_cron_sum:{}\r\n\
         eventloop_duration_max:{}\r\n\
         eventloop_cmd_per_cycle_max:{}\r\n",
        stats.turns.ticks_us, stats.turns.longest_us, stats.most_commands,
    )
}

fn replication(s: &Report<'_>, out: &mut String) -> Result {
    s.parts.replication.write_info(s.now, &s.parts.journal, out);
    Ok(())
}

fn cpu(s: &Report<'_>, out: &mut String) -> Result {
    let report = &s.parts.memory_report;
    write!(
        out,
        "used_cpu_sys:{:.6}\r\n\
         used_cpu_user:{:.6}\r\n\
         used_cpu_sys_children:0.000000\r\n\
         used_cpu_user_children:0.000000\r\n\
         used_cpu_sys_main_thread:{:.6}\r\n\
         used_cpu_user_main_thread:{:.6}\r\n",
        report.cpu_sys, report.cpu_user, report.cpu_sys, report.cpu_user,
    )
}

fn commandstats(s: &Report<'_>, out: &mut String) -> Result {
    let all = s.parts.index.all().iter().zip(&s.parts.stats.commands);
    for (command, stats) in all {
        if stats.calls + stats.rejected + stats.failed > 0 {
            write!(
                out,
                "cmdstat_{}:calls={},usec={},usec_per_call={:.2},rejected_calls={},failed_calls={}\r\n",
                command.name,
                stats.calls,
                stats.micros,
                stats.micros as f64 / stats.calls.max(1) as f64,
                stats.rejected,
                stats.failed,
            )?;
        }
    }
    Ok(())
}

fn latencystats(s: &Report<'_>, out: &mut String) -> Result {
    let percentiles = &s.parts.config.latency_tracking_info_percentiles.0;
    let all = s.parts.index.all().iter().zip(&s.parts.stats.commands);
    for (command, stats) in all {
        let Some(times) = stats.times.as_ref().filter(|_| !percentiles.is_empty()) else {
            continue;
        };
        write!(out, "latency_percentiles_usec_{}:", command.name)?;
        for (n, percent) in percentiles.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let micros = times.percentile(*percent) as f64;
            write!(out, "{comma}p{percent}={micros:.3}")?;
        }
        write!(out, "\r\n")?;
    }
    Ok(())
}

fn errorstats(s: &Report<'_>, out: &mut String) -> Result {
    for (code, count) in &s.parts.stats.errors {
        let code = String::from_utf8_lossy(code);
        write!(out, "errorstat_{code}:count={count}\r\n")?;
    }
    Ok(())
}

fn cluster(s: &Report<'_>, out: &mut String) -> Result {
    let enabled = u8::from(s.parts.config.cluster_enabled);
    write!(out, "cluster_enabled:{enabled}\r\n")
}

fn keyspace(s: &Report<'_>, out: &mut String) -> Result {
    for (db, database) in s.parts.store.databases().iter().enumerate() {
        if !database.is_empty() {
            write!(
                out,
                "db{db}:keys={},expires={},avg_ttl={}",
                database.len(),
                database.expires(),
                database.mean_ttl_ms(s.now.unix_ms()),
            )?;
            // Hashes whose fields expire: where there are none, the line is that of Redis 7.0.
            if database.timed_hashes() > 0 {
                write!(out, ",subexpiry={}", database.timed_hashes())?;
            }
            write!(out, "\r\n")?;
        }
    }
    Ok(())
}

fn keysizes(s: &Report<'_>, out: &mut String) -> Result {
    for (db, database) in s.parts.store.databases().iter().enumerate() {
        for (name, bins) in database.sizes().by_type() {
            write!(out, "db{db}_distrib_{name}:")?;
            for (i, (least, keys)) in bins.enumerate() {
                let comma = if i > 0 { "," } else { "" };
                write!(out, "{comma}{}={keys}", in_units(least))?;
            }
            write!(out, "\r\n")?;
        }
    }
    Ok(())
}

/// A power of two (or nothing) as short as can be: `512`, `1K`.
fn in_units(n: u64) -> String {
    const UNITS: [&str; 5] = ["", "K", "M", "G", "T"];
    let unit = n.checked_ilog2().map_or(0, |power| power as usize / 10);
    let unit = unit.min(UNITS.len() - 1);
    format!("{}{}", n >> (10 * unit), UNITS[unit])
}
