//! INFO as Prometheus wants it: text format 0.0.4, under the names of redis_exporter, so that its
//! dashboards and alerts work without it.
//!
//! ```text
//! # HELP redis_connected_clients connected_clients of INFO
//! # TYPE redis_connected_clients gauge
//! redis_connected_clients 7
//! ```
//!
//! Everything comes from INFO's own lines (and those of CLUSTER INFO): there is one source of what is true.
//! Sources: <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://github.com/oliver006/redis_exporter> (names).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

use super::context::Parts;
use super::info;
use crate::face::Now;

/// The type of a metric.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Summary,
}
use Kind::{Counter, Gauge, Summary};

/// Fields of INFO that are metrics as they stand: field, metric, type.
#[rustfmt::skip]
const FIELDS: &[(&str, &str, Kind)] = &[
    // Server.
    ("uptime_in_seconds", "uptime_in_seconds", Gauge),
    ("process_id", "process_id", Gauge),
    ("hz", "hz", Gauge),
    ("configured_hz", "configured_hz", Gauge),
    ("io_threads_active", "io_threads_active", Gauge),
    // Clients.
    ("connected_clients", "connected_clients", Gauge),
    ("cluster_connections", "cluster_connections", Gauge),
    ("maxclients", "config_maxclients", Gauge),
    ("pubsub_clients", "pubsub_clients", Gauge),
    ("watching_clients", "watching_clients", Gauge),
    ("total_watched_keys", "total_watched_keys", Gauge),
    ("total_blocking_keys", "total_blocking_keys", Gauge),
    ("total_blocking_keys_on_nokey", "total_blocking_keys_on_nokey", Gauge),
    ("client_recent_max_input_buffer", "client_recent_max_input_buffer_bytes", Gauge),
    ("client_recent_max_output_buffer", "client_recent_max_output_buffer_bytes", Gauge),
    ("blocked_clients", "blocked_clients", Gauge),
    ("tracking_clients", "tracking_clients", Gauge),
    ("clients_in_timeout_table", "clients_in_timeout_table", Gauge),
    // Memory.
    ("used_memory", "memory_used_bytes", Gauge),
    ("used_memory_rss", "memory_used_rss_bytes", Gauge),
    ("used_memory_peak", "memory_used_peak_bytes", Gauge),
    ("used_memory_overhead", "memory_used_overhead_bytes", Gauge),
    ("used_memory_startup", "memory_used_startup_bytes", Gauge),
    ("used_memory_dataset", "memory_used_dataset_bytes", Gauge),
    ("used_memory_lua", "memory_used_lua_bytes", Gauge),
    ("used_memory_vm_eval", "memory_used_vm_eval_bytes", Gauge),
    ("used_memory_vm_functions", "memory_used_vm_functions", Gauge),
    ("used_memory_vm_total", "memory_used_vm_total", Gauge),
    ("used_memory_scripts", "memory_used_scripts_bytes", Gauge),
    ("used_memory_scripts_eval", "memory_used_scripts_eval_bytes", Gauge),
    ("used_memory_functions", "memory_used_functions", Gauge),
    ("number_of_cached_scripts", "number_of_cached_scripts", Gauge),
    ("number_of_functions", "number_of_functions", Gauge),
    ("number_of_libraries", "number_of_libraries", Gauge),
    ("maxmemory", "memory_max_bytes", Gauge),
    ("total_system_memory", "total_system_memory_bytes", Gauge),
    ("allocator_active", "allocator_active_bytes", Gauge),
    ("allocator_allocated", "allocator_allocated_bytes", Gauge),
    ("allocator_resident", "allocator_resident_bytes", Gauge),
    ("allocator_frag_ratio", "allocator_frag_ratio", Gauge),
    ("allocator_frag_bytes", "allocator_frag_bytes", Gauge),
    ("allocator_rss_ratio", "allocator_rss_ratio", Gauge),
    ("allocator_rss_bytes", "allocator_rss_bytes", Gauge),
    ("mem_fragmentation_ratio", "mem_fragmentation_ratio", Gauge),
    ("mem_fragmentation_bytes", "mem_fragmentation_bytes", Gauge),
    ("mem_clients_slaves", "mem_clients_slaves", Gauge),
    ("mem_clients_normal", "mem_clients_normal", Gauge),
    ("mem_cluster_links", "mem_cluster_links_bytes", Gauge),
    ("mem_aof_buffer", "mem_aof_buffer_bytes", Gauge),
    ("mem_replication_backlog", "mem_replication_backlog_bytes", Gauge),
    ("mem_total_replication_buffers", "mem_total_replication_buffers_bytes", Gauge),
    ("mem_not_counted_for_evict", "mem_not_counted_for_eviction_bytes", Gauge),
    ("lazyfree_pending_objects", "lazyfree_pending_objects", Gauge),
    ("lazyfreed_objects", "lazyfreed_objects", Gauge),
    ("active_defrag_running", "active_defrag_running", Gauge),
    // Persistence.
    ("loading", "loading_dump_file", Gauge),
    ("async_loading", "async_loading", Gauge),
    ("rdb_changes_since_last_save", "rdb_changes_since_last_save", Gauge),
    ("rdb_bgsave_in_progress", "rdb_bgsave_in_progress", Gauge),
    ("rdb_last_save_time", "rdb_last_save_timestamp_seconds", Gauge),
    ("rdb_last_bgsave_status", "rdb_last_bgsave_status", Gauge),
    ("rdb_last_bgsave_time_sec", "rdb_last_bgsave_duration_sec", Gauge),
    ("rdb_current_bgsave_time_sec", "rdb_current_bgsave_duration_sec", Gauge),
    ("rdb_saves", "rdb_saves_total", Counter),
    ("rdb_last_cow_size", "rdb_last_cow_size_bytes", Gauge),
    ("rdb_last_load_keys_expired", "rdb_last_load_expired_keys", Gauge),
    ("rdb_last_load_keys_loaded", "rdb_last_load_loaded_keys", Gauge),
    ("aof_enabled", "aof_enabled", Gauge),
    ("aof_rewrite_in_progress", "aof_rewrite_in_progress", Gauge),
    ("aof_rewrite_scheduled", "aof_rewrite_scheduled", Gauge),
    ("aof_last_rewrite_time_sec", "aof_last_rewrite_duration_sec", Gauge),
    ("aof_current_rewrite_time_sec", "aof_current_rewrite_duration_sec", Gauge),
    ("aof_last_cow_size", "aof_last_cow_size_bytes", Gauge),
    ("aof_current_size", "aof_current_size_bytes", Gauge),
    ("aof_base_size", "aof_base_size_bytes", Gauge),
    ("aof_pending_rewrite", "aof_pending_rewrite", Gauge),
    ("aof_buffer_length", "aof_buffer_length", Gauge),
    ("aof_pending_bio_fsync", "aof_pending_bio_fsync", Gauge),
    ("aof_delayed_fsync", "aof_delayed_fsync", Gauge),
    ("aof_last_bgrewrite_status", "aof_last_bgrewrite_status", Gauge),
    ("aof_last_write_status", "aof_last_write_status", Gauge),
    ("module_fork_in_progress", "module_fork_in_progress", Gauge),
    ("module_fork_last_cow_size", "module_fork_last_cow_size", Gauge),
    // Stats.
    ("total_connections_received", "connections_received_total", Counter),
    ("total_commands_processed", "commands_processed_total", Counter),
    ("total_net_input_bytes", "net_input_bytes_total", Counter),
    ("total_net_output_bytes", "net_output_bytes_total", Counter),
    ("total_net_repl_input_bytes", "net_repl_input_bytes_total", Counter),
    ("total_net_repl_output_bytes", "net_repl_output_bytes_total", Counter),
    ("rejected_connections", "rejected_connections_total", Counter),
    ("sync_full", "replica_resyncs_full", Gauge),
    ("sync_partial_ok", "replica_partial_resync_accepted", Gauge),
    ("sync_partial_err", "replica_partial_resync_denied", Gauge),
    ("expired_keys", "expired_keys_total", Counter),
    ("expired_stale_perc", "expired_stale_percentage", Gauge),
    ("expired_time_cap_reached_count", "expired_time_cap_reached_total", Gauge),
    ("expire_cycle_cpu_milliseconds", "expire_cycle_cpu_time_ms_total", Counter),
    ("evicted_keys", "evicted_keys_total", Counter),
    ("evicted_clients", "evicted_clients_total", Counter),
    ("total_eviction_exceeded_time", "eviction_exceeded_time_ms_total", Counter),
    ("keyspace_hits", "keyspace_hits_total", Counter),
    ("keyspace_misses", "keyspace_misses_total", Counter),
    ("pubsub_channels", "pubsub_channels", Gauge),
    ("pubsub_patterns", "pubsub_patterns", Gauge),
    ("pubsubshard_channels", "pubsubshard_channels", Gauge),
    ("latest_fork_usec", "latest_fork_usec", Gauge),
    ("total_forks", "forks_total", Counter),
    ("migrate_cached_sockets", "migrate_cached_sockets_total", Gauge),
    ("slave_expires_tracked_keys", "slave_expires_tracked_keys", Gauge),
    ("active_defrag_hits", "defrag_hits", Gauge),
    ("active_defrag_misses", "defrag_misses", Gauge),
    ("active_defrag_key_hits", "defrag_key_hits", Gauge),
    ("active_defrag_key_misses", "defrag_key_misses", Gauge),
    ("tracking_total_keys", "tracking_total_keys", Gauge),
    ("tracking_total_items", "tracking_total_items", Gauge),
    ("tracking_total_prefixes", "tracking_total_prefixes", Gauge),
    ("unexpected_error_replies", "unexpected_error_replies", Counter),
    ("total_error_replies", "total_error_replies", Counter),
    ("dump_payload_sanitizations", "dump_payload_sanitizations", Counter),
    ("total_reads_processed", "total_reads_processed", Counter),
    ("total_writes_processed", "total_writes_processed", Counter),
    ("io_threaded_reads_processed", "io_threaded_reads_processed", Counter),
    ("io_threaded_writes_processed", "io_threaded_writes_processed", Counter),
    ("eventloop_cycles", "eventloop_cycles_total", Counter),
    ("eventloop_duration_sum", "eventloop_duration_sum_usec_total", Counter),
    ("eventloop_duration_cmd_sum", "eventloop_duration_cmd_sum_usec_total", Counter),
    ("instantaneous_eventloop_cycles_per_sec", "instantaneous_eventloop_cycles_per_sec", Gauge),
    ("instantaneous_eventloop_duration_usec", "instantaneous_eventloop_duration_usec", Gauge),
    ("acl_access_denied_auth", "acl_access_denied_auth_total", Counter),
    ("acl_access_denied_cmd", "acl_access_denied_cmd_total", Counter),
    ("acl_access_denied_key", "acl_access_denied_key_total", Counter),
    ("acl_access_denied_channel", "acl_access_denied_channel_total", Counter),
    // Replication.
    ("connected_slaves", "connected_slaves", Gauge),
    ("repl_backlog_size", "replication_backlog_bytes", Gauge),
    ("repl_backlog_active", "repl_backlog_is_active", Gauge),
    ("repl_backlog_first_byte_offset", "repl_backlog_first_byte_offset", Gauge),
    ("repl_backlog_histlen", "repl_backlog_history_bytes", Gauge),
    ("master_repl_offset", "master_repl_offset", Gauge),
    ("second_repl_offset", "second_repl_offset", Gauge),
    ("slave_priority", "slave_priority", Gauge),
    ("slave_read_repl_offset", "slave_read_repl_offset", Gauge),
    ("slave_read_only", "slave_read_only", Gauge),
    ("min_slaves_good_slaves", "min_slaves_good_slaves", Gauge),
    // CPU.
    ("used_cpu_sys", "cpu_sys_seconds_total", Counter),
    ("used_cpu_user", "cpu_user_seconds_total", Counter),
    ("used_cpu_sys_children", "cpu_sys_children_seconds_total", Counter),
    ("used_cpu_user_children", "cpu_user_children_seconds_total", Counter),
    ("used_cpu_sys_main_thread", "cpu_sys_main_thread_seconds_total", Counter),
    ("used_cpu_user_main_thread", "cpu_user_main_thread_seconds_total", Counter),
    // SLOWLOG and CONFIG.
    ("slowlog_length", "slowlog_length", Gauge),
    ("slowlog_last_id", "slowlog_last_id", Gauge),
    ("slowlog_last_seconds", "last_slow_execution_duration_seconds", Gauge),
    ("config_maxmemory", "config_maxmemory", Gauge),
    ("config_io_threads", "config_io_threads", Gauge),
    ("latest_fork_seconds", "latest_fork_seconds", Gauge),
    // Cluster, and CLUSTER INFO.
    ("cluster_enabled", "cluster_enabled", Gauge),
    ("cluster_state", "cluster_state", Gauge),
    ("cluster_slots_assigned", "cluster_slots_assigned", Gauge),
    ("cluster_slots_ok", "cluster_slots_ok", Gauge),
    ("cluster_slots_pfail", "cluster_slots_pfail", Gauge),
    ("cluster_slots_fail", "cluster_slots_fail", Gauge),
    ("cluster_known_nodes", "cluster_known_nodes", Gauge),
    ("cluster_size", "cluster_size", Gauge),
    ("cluster_current_epoch", "cluster_current_epoch", Gauge),
    ("cluster_my_epoch", "cluster_my_epoch", Gauge),
    ("cluster_stats_messages_sent", "cluster_messages_sent_total", Gauge),
    ("cluster_stats_messages_received", "cluster_messages_received_total", Gauge),
];

/// What the lines of one metric say: labels and value.
struct Metric {
    kind: Kind,
    help: String,
    /// What follows the metric's name: a suffix, then labels; and the value.
    samples: Vec<(String, String)>,
}

/// The metrics, by name: the format wants the lines of each together.
#[derive(Default)]
struct Metrics(BTreeMap<&'static str, Metric>);

/// All metrics of the engine.
pub(crate) fn render(parts: &Parts, now: Now) -> String {
    let mut lines = info::report(parts, now);
    if let Some(cluster) = &parts.cluster {
        lines += &cluster.info(now);
    }
    // (What exporters ask for besides INFO.)
    let (length, last, micros) = parts.slow_log.latest();
    let slowest = scaled(&micros.to_string(), 1e6);
    let _ = write!(
        lines,
        "slowlog_length:{length}\r\nslowlog_last_id:{last}\r\nslowlog_last_seconds:{slowest}\r\n\
         config_maxmemory:{}\r\nconfig_io_threads:{}\r\nlatest_fork_seconds:0\r\n",
        parts.config.maxmemory, parts.config.io_threads,
    );
    of_info(&lines, now.unix_ms() / 1000)
}

fn of_info(lines: &str, unix_s: u64) -> String {
    let mut metrics = Metrics::default();
    metrics.plain("up", Gauge, "whether the server answers", "1");
    let pairs = || {
        lines
            .lines()
            .filter_map(|line| line.trim_end().split_once(':'))
    };
    let field = |name: &str| pairs().find(|(found, _)| *found == name).map(|(_, v)| v);
    metrics.instance(&field, unix_s);
    for (name, value) in pairs() {
        if let Some(&(_, metric, kind)) = FIELDS.iter().find(|(field, ..)| *field == name) {
            if let Some(value) = number(value) {
                metrics.plain(metric, kind, &format!("{name} of INFO"), &value);
            }
            continue;
        }
        metrics.of_line(name, value, &field);
    }
    metrics.text()
}

/// A value as a number: it is one, or a word for yes or no.
fn number(value: &str) -> Option<String> {
    match value {
        "ok" | "up" | "true" => Some("1".into()),
        "err" | "fail" | "down" | "false" => Some("0".into()),
        _ => value
            .parse::<f64>()
            .ok()
            .filter(|n| n.is_finite())
            .map(|_| value.to_string()),
    }
}

/// `{name="value",…}`.
fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = String::from("{");
    for (n, (name, value)) in pairs.iter().enumerate() {
        text += if n > 0 { "," } else { "" };
        let _ = write!(text, "{name}=\"");
        for c in value.chars() {
            match c {
                '"' => text += "\\\"",
                '\\' => text += "\\\\",
                '\n' => text += "\\n",
                c => text.push(c),
            }
        }
        text.push('"');
    }
    text.push('}');
    text
}

/// `name=value,…`: the value of a name.
fn part<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value
        .split(',')
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

/// A number of parts of a unit, as a number of units: to nine places.
fn scaled(value: &str, per_unit: f64) -> String {
    const PLACES: f64 = 1e9;
    value.parse::<f64>().map_or_else(
        |_| "0".into(),
        |n| (libm::round(n / per_unit * PLACES) / PLACES).to_string(),
    )
}

impl Metrics {
    fn add(&mut self, name: &'static str, kind: Kind, help: &str, tail: String, value: &str) {
        let metric = self.0.entry(name).or_insert_with(|| Metric {
            kind,
            help: help.to_string(),
            samples: Vec::new(),
        });
        metric.samples.push((tail, value.to_string()));
    }

    fn plain(&mut self, name: &'static str, kind: Kind, help: &str, value: &str) {
        self.add(name, kind, help, String::new(), value);
    }

    fn instance<'a>(&mut self, field: &impl Fn(&str) -> Option<&'a str>, unix_s: u64) {
        const LABELS: [&str; 10] = [
            "role",
            "redis_version",
            "redis_build_id",
            "redis_mode",
            "os",
            "maxmemory_policy",
            "tcp_port",
            "run_id",
            "process_id",
            "master_replid",
        ];
        let of = |name| field(name).unwrap_or_default();
        let about = LABELS.map(|name| (name, of(name)));
        self.add(
            "instance_info",
            Gauge,
            "about the server",
            labels(&about),
            "1",
        );
        if let Ok(up_s) = of("uptime_in_seconds").parse::<u64>() {
            let started = unix_s.saturating_sub(up_s).to_string();
            self.plain("start_time_seconds", Gauge, "when it was started", &started);
        }
        if of("role") == "slave" {
            let primary = [
                ("master_host", of("master_host")),
                ("master_port", of("master_port")),
                ("read_only", of("slave_read_only")),
            ];
            self.add(
                "slave_info",
                Gauge,
                "about a replica",
                labels(&primary),
                "1",
            );
        }
    }

    /// Lines with names or values of a form of their own.
    fn of_line<'a>(&mut self, name: &str, value: &str, field: &impl Fn(&str) -> Option<&'a str>) {
        if let Some(command) = name.strip_prefix("cmdstat_") {
            self.command(command, value);
        } else if let Some(command) = name.strip_prefix("latency_percentiles_usec_") {
            let calls = field(&format!("cmdstat_{command}")).unwrap_or_default();
            self.latency(command, value, calls);
        } else if let Some(error) = name.strip_prefix("errorstat_") {
            let count = part(value, "count").unwrap_or("0");
            let error = labels(&[("err", error)]);
            self.add(
                "errors_total",
                Counter,
                "errors by their code",
                error,
                count,
            );
        } else if is_numbered(name, "db") {
            self.database(name, value);
        } else if is_numbered(name, "slave") {
            self.replica(value);
        } else {
            self.primary(name, value, field);
        }
    }

    fn command(&mut self, command: &str, value: &str) {
        let of = |name| part(value, name).unwrap_or("0");
        let mut add = |name, help, value: &str| {
            self.add(name, Counter, help, labels(&[("cmd", command)]), value);
        };
        add("commands_total", "calls by command", of("calls"));
        add(
            "commands_duration_seconds_total",
            "seconds spent by command",
            &scaled(of("usec"), 1e6),
        );
        let rejected = "calls refused before they were carried out, by command";
        add(
            "commands_rejected_calls_total",
            rejected,
            of("rejected_calls"),
        );
        add(
            "commands_failed_calls_total",
            "calls that failed, by command",
            of("failed_calls"),
        );
    }

    fn latency(&mut self, command: &str, value: &str, calls: &str) {
        const NAME: &str = "latency_percentiles_usec";
        const HELP: &str = "microseconds that calls took, by command";
        for percentile in value.split(',') {
            let Some((percent, micros)) = percentile
                .strip_prefix('p')
                .and_then(|percentile| percentile.split_once('='))
            else {
                continue;
            };
            let quantile = scaled(percent, 100.0);
            let tail = labels(&[("cmd", command), ("quantile", &quantile)]);
            self.add(NAME, Summary, HELP, tail, micros);
        }
        for (suffix, of) in [("_sum", "usec"), ("_count", "calls")] {
            let tail = format!("{suffix}{}", labels(&[("cmd", command)]));
            self.add(NAME, Summary, HELP, tail, part(calls, of).unwrap_or("0"));
        }
    }

    fn database(&mut self, name: &str, value: &str) {
        let of = |name| part(value, name).unwrap_or("0");
        let mut add = |metric, help, value: &str| {
            self.add(metric, Gauge, help, labels(&[("db", name)]), value);
        };
        add("db_keys", "keys by database", of("keys"));
        add(
            "db_keys_expiring",
            "keys that expire, by database",
            of("expires"),
        );
        let ttl = scaled(of("avg_ttl"), 1e3);
        add("db_avg_ttl_seconds", "mean time to live, by database", &ttl);
        if let Some(count) = part(value, "subexpiry") {
            let help = "keys with parts that expire, by database";
            add("db_keys_with_expiring_items", help, count);
        }
    }

    fn replica(&mut self, value: &str) {
        let of = |name| part(value, name).unwrap_or_default();
        let tail = labels(&[
            ("slave_ip", of("ip")),
            ("slave_port", of("port")),
            ("slave_state", of("state")),
        ]);
        let name = "connected_slave_offset_bytes";
        self.add(
            name,
            Gauge,
            "up to where a replica is",
            tail.clone(),
            of("offset"),
        );
        let name = "connected_slave_lag_seconds";
        self.add(
            name,
            Gauge,
            "since when a replica is silent",
            tail,
            of("lag"),
        );
    }

    fn primary<'a>(&mut self, name: &str, value: &str, field: &impl Fn(&str) -> Option<&'a str>) {
        const FIELDS: [(&str, &str); 4] = [
            ("master_link_status", "master_link_up"),
            ("master_last_io_seconds_ago", "master_last_io_seconds_ago"),
            ("master_sync_in_progress", "master_sync_in_progress"),
            ("slave_repl_offset", "slave_repl_offset"),
        ];
        let Some((_, metric)) = FIELDS.iter().find(|(field, _)| *field == name) else {
            return;
        };
        let tail = labels(&[
            ("master_host", field("master_host").unwrap_or_default()),
            ("master_port", field("master_port").unwrap_or_default()),
        ]);
        if let Some(value) = number(value) {
            self.add(metric, Gauge, &format!("{name} of INFO"), tail, &value);
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for (name, metric) in &self.0 {
            let kind = match metric.kind {
                Counter => "counter",
                Gauge => "gauge",
                Summary => "summary",
            };
            let _ = write!(
                out,
                "# HELP redis_{name} {}\n# TYPE redis_{name} {kind}\n",
                metric.help
            );
            for (tail, value) in &metric.samples {
                let _ = writeln!(out, "redis_{name}{tail} {value}");
            }
        }
        out
    }
}

/// `prefix` and a number.
fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nos:Linux\r\nuptime_in_seconds:40\r\n\
        # Memory\r\nused_memory:1000\r\nused_memory_human:1000B\r\nmaxmemory_policy:a\"b\\c\r\n\
        # Persistence\r\nrdb_last_bgsave_status:err\r\n\
        # Replication\r\nrole:slave\r\nmaster_host:h\r\nmaster_port:1\r\nmaster_link_status:up\r\n\
        slave0:ip=::1,port=6380,state=online,offset=14,lag=1\r\n\
        # Commandstats\r\ncmdstat_get:calls=2,usec=3,usec_per_call=1.50,rejected_calls=0,failed_calls=1\r\n\
        # Errorstats\r\nerrorstat_ERR:count=5\r\n\
        # Latencystats\r\nlatency_percentiles_usec_get:p50=1.003,p99.9=2.007\r\n\
        # Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=1500\r\n";

    #[test]
    fn lines_of_info_become_metrics() {
        let text = of_info(INFO, 100);
        for line in [
            "redis_up 1",
            "redis_start_time_seconds 60",
            "# TYPE redis_memory_used_bytes gauge",
            "redis_memory_used_bytes 1000",
            "redis_rdb_last_bgsave_status 0",
            "redis_master_link_up{master_host=\"h\",master_port=\"1\"} 1",
            "redis_connected_slave_offset_bytes{slave_ip=\"::1\",slave_port=\"6380\",slave_state=\"online\"} 14",
            "redis_commands_total{cmd=\"get\"} 2",
            "redis_commands_duration_seconds_total{cmd=\"get\"} 0.000003",
            "redis_errors_total{err=\"ERR\"} 5",
            "# TYPE redis_latency_percentiles_usec summary",
            "redis_latency_percentiles_usec{cmd=\"get\",quantile=\"0.5\"} 1.003",
            "redis_latency_percentiles_usec{cmd=\"get\",quantile=\"0.999\"} 2.007",
            "redis_latency_percentiles_usec_sum{cmd=\"get\"} 3",
            "redis_latency_percentiles_usec_count{cmd=\"get\"} 2",
            "redis_db_keys{db=\"db0\"} 3",
            "redis_db_avg_ttl_seconds{db=\"db0\"} 1.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.contains("maxmemory_policy=\"a\\\"b\\\\c\""));
        assert!(!text.contains("human"));
    }

    #[test]
    fn fields_and_metrics_are_named_once() {
        for (n, (field, metric, _)) in FIELDS.iter().enumerate() {
            let rest = &FIELDS[n + 1..];
            assert!(
                rest.iter().all(|(f, m, _)| f != field && m != metric),
                "{field}"
            );
        }
    }
}
