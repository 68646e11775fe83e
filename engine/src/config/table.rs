//! The table of directives. Everything that is known about a directive is in its row:
//!
//! ```text
//! field: type = default, "name" / "alias" => rule, [traits];
//! ```
//!
//! The defaults are those compiled into Redis 7.0.15. Names of Redis 7.2 and Valkey that 7.0 lacks are
//! `LATER`: they may be set and asked for by name, but patterns do not list them.

use super::checks;
use super::choices::{
    AclPubsubDefault, AppendFsync, ClusterPreferredEndpointType, LogLevel, MaxmemoryPolicy,
    OomScoreAdj, PropagationErrorBehavior, ProtectedAction, ReplDisklessLoad, SanitizeDumpPayload,
    Supervised, SyslogFacility, TlsAuthClients,
};
use super::setting::{Rule, Setting, Unit};
use super::special::{
    BindList, Dir, NotifyEvents, OomScores, OutputLimits, Percentiles, ReplicaOf, SavePoints,
    ShutdownFlags,
};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// CONFIG SET refuses it.
pub(super) const IMMUTABLE: u16 = 1;
/// CONFIG SET takes it only from those whom `enable-protected-configs` allows.
pub(super) const PROTECTED: u16 = 1 << 1;
/// Its value must not appear in logs.
pub(super) const SENSITIVE: u16 = 1 << 2;
/// CONFIG SET refuses it while a dataset is loaded.
pub(super) const DENY_LOADING: u16 = 1 << 3;
/// Takes several words.
pub(super) const MULTI: u16 = 1 << 4;
/// CONFIG GET shows it only when asked by its exact name.
pub(super) const HIDDEN: u16 = 1 << 5;
/// Setting it again applies it again (a file or the network may have changed).
pub(super) const VOLATILE: u16 = 1 << 6;
/// Unknown to Redis 7.0; else as HIDDEN.
pub(super) const LATER: u16 = 1 << 7;

/// Its alias is unknown to Redis 7.0; else as HIDDEN.
pub(super) const LATER_ALIAS: u16 = 1 << 9;
/// The runtime may find that it cannot do what it says.
pub(super) const OUTSIDE: u16 = 1 << 8;

/// What is known about one directive.
pub struct Directive {
    /// Its name.
    pub name: &'static str,
    /// Its other name, or an empty string.
    pub alias: &'static str,
    pub(super) rule: Rule,
    pub(super) traits: u16,
    pub(super) of: fn(&Config) -> &dyn Setting,
    pub(super) of_mut: fn(&mut Config) -> &mut dyn Setting,
}

impl core::fmt::Debug for Directive {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Directive").field(&self.name).finish()
    }
}

macro_rules! directives {
    ($( $(#[$meta:meta])* $field:ident: $ty:ty = $default:expr, $name:literal $(/ $alias:literal)?
        $(=> $rule:expr)? $(, [$($traits:ident)|+])? ;)*) => {
        /// The configuration: one field for each directive, and what the file said besides.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $( #[doc = concat!("`", $name, "`")] $(#[$meta])* pub $field: $ty, )*
            /// The absolute path of the configuration file; empty without one.
            pub config_file: String,
            /// RESTORE takes payloads with wrong checksums (DEBUG SET-SKIP-CHECKSUM-VALIDATION).
            pub skip_checksums: bool,
            /// Elements of lists that are nodes by themselves have this many bytes or more; 0: as many as no listpack
            /// can take (DEBUG QUICKLIST-PACKED-THRESHOLD).
            pub quicklist_packed_threshold: u64,
            /// The absolute path of the program, for INFO.
            pub executable: String,
            /// Name, release and machine of the operating system, for INFO.
            pub os: String,
            /// `user` lines: the words after `user`.
            pub users: Vec<Vec<Vec<u8>>>,
            /// `rename-command` lines: old and new name; an empty new name removes the command.
            pub renamed_commands: Vec<(Vec<u8>, Vec<u8>)>,
            /// `loadmodule` lines: path and arguments.
            pub modules: Vec<Vec<Vec<u8>>>,
        }

        impl Default for Config {
            fn default() -> Config {
                Config {
                    $( $field: $default, )*
                    config_file: String::new(),
                    skip_checksums: false,
                    quicklist_packed_threshold: 0,
                    executable: String::new(),
                    os: String::new(),
                    users: Vec::new(),
                    renamed_commands: Vec::new(),
                    modules: Vec::new(),
                }
            }
        }

        pub(super) static DIRECTIVES: &[Directive] = &[
            $( Directive {
                name: $name,
                alias: directives!(@or "" $($alias)?),
                rule: directives!(@or Rule::NONE $($rule)?),
                traits: 0 $($(| $traits)+)?,
                of: |config| &config.$field,
                of_mut: |config| &mut config.$field,
            }, )*
        ];
    };
    (@or $default:expr, ) => { $default };
    (@or $default:literal $given:literal) => { $given };
    (@or $default:literal) => { $default };
    (@or Rule::NONE $given:expr) => { $given };
    (@or Rule::NONE) => { Rule::NONE };
}

const INT_MAX: i128 = i32::MAX as i128;
const LONG_MAX: i128 = i64::MAX as i128;
const ULONG_MAX: i128 = u64::MAX as i128;
const COUNT: Rule = Rule::range(0, INT_MAX);
const PORT: Rule = Rule::range(0, 65535);
const ANY_INT: Rule = Rule::range(i32::MIN as i128, INT_MAX);
const LONG: Rule = Rule::range(0, LONG_MAX);
const MEMORY: Rule = Rule::memory(0, LONG_MAX);
const MAY_BE_EMPTY: Rule = Rule::may_be_empty();
const MEGABYTE: i128 = 1 << 20;

fn text(text: &str) -> String {
    text.to_string()
}

directives! {
    // General.
    daemonize: bool = false, "daemonize", [IMMUTABLE];
    pidfile: String = text(""), "pidfile", [IMMUTABLE];
    dir: Dir = Dir::default(), "dir", [PROTECTED | DENY_LOADING | OUTSIDE | VOLATILE];
    databases: u32 = 16, "databases" => Rule::range(1, INT_MAX), [IMMUTABLE];
    loglevel: LogLevel = LogLevel::Notice, "loglevel";
    logfile: String = text(""), "logfile" => MAY_BE_EMPTY, [IMMUTABLE];
    syslog_enabled: bool = false, "syslog-enabled", [IMMUTABLE];
    syslog_ident: String = text("redis"), "syslog-ident" => MAY_BE_EMPTY, [IMMUTABLE];
    syslog_facility: SyslogFacility = SyslogFacility::Local0, "syslog-facility", [IMMUTABLE];
    always_show_logo: bool = false, "always-show-logo", [IMMUTABLE];
    set_proc_title: bool = true, "set-proc-title", [IMMUTABLE];
    proc_title_template: String = text("{title} {listen-addr} {server-mode}"), "proc-title-template"
        => MAY_BE_EMPTY.with_check(checks::proc_title_template);
    supervised: Supervised = Supervised::No, "supervised", [IMMUTABLE];
    crash_log_enabled: bool = true, "crash-log-enabled";
    crash_memcheck_enabled: bool = true, "crash-memcheck-enabled";
    use_exit_on_panic: bool = false, "use-exit-on-panic", [HIDDEN];
    watchdog_period: u32 = 0, "watchdog-period" => COUNT, [HIDDEN];
    ignore_warnings: String = text(""), "ignore-warnings" => MAY_BE_EMPTY;
    disable_thp: bool = true, "disable-thp", [IMMUTABLE];
    oom_score_adj: OomScoreAdj = OomScoreAdj::No, "oom-score-adj";
    oom_score_adj_values: OomScores = OomScores([0, 200, 800]), "oom-score-adj-values", [MULTI];
    server_cpulist: String = text(""), "server_cpulist", [IMMUTABLE];
    bio_cpulist: String = text(""), "bio_cpulist", [IMMUTABLE];
    aof_rewrite_cpulist: String = text(""), "aof_rewrite_cpulist", [IMMUTABLE];
    bgsave_cpulist: String = text(""), "bgsave_cpulist", [IMMUTABLE];
    io_threads: u32 = 1, "io-threads" => Rule::range(1, 128), [IMMUTABLE];
    io_threads_do_reads: bool = false, "io-threads-do-reads", [IMMUTABLE];
    jemalloc_bg_thread: bool = true, "jemalloc-bg-thread";
    /// In hertz; 1 to 500.
    hz: u32 = 10, "hz" => COUNT;
    dynamic_hz: bool = true, "dynamic-hz";
    enable_protected_configs: ProtectedAction = ProtectedAction::No, "enable-protected-configs", [IMMUTABLE];
    enable_debug_command: ProtectedAction = ProtectedAction::No, "enable-debug-command", [IMMUTABLE];
    enable_module_command: ProtectedAction = ProtectedAction::No, "enable-module-command", [IMMUTABLE];
    locale_collate: String = text(""), "locale-collate" => MAY_BE_EMPTY, [LATER];

    // Network.
    port: u16 = 6379, "port" => PORT, [OUTSIDE];
    bind: BindList = BindList::default(), "bind", [MULTI | OUTSIDE | VOLATILE];
    bind_source_addr: String = text(""), "bind-source-addr";
    protected_mode: bool = true, "protected-mode";
    tcp_backlog: u32 = 511, "tcp-backlog" => COUNT, [IMMUTABLE];
    /// Seconds; 0 switches it off.
    tcp_keepalive: u32 = 300, "tcp-keepalive" => COUNT;
    unixsocket: String = text(""), "unixsocket", [IMMUTABLE];
    /// 0 leaves the process's usual mode.
    unixsocketperm: u32 = 0, "unixsocketperm" => Rule::range(0, 0o777).with_unit(Unit::Octal), [IMMUTABLE];
    socket_mark_id: u32 = 0, "socket-mark-id" => Rule::range(0, u32::MAX as i128), [IMMUTABLE];
    /// Seconds after which an idle client is disconnected; 0 for never.
    timeout: u32 = 0, "timeout" => COUNT;

    // TLS. The runtime reads the files.
    tls_port: u16 = 0, "tls-port" => PORT, [OUTSIDE];
    tls_cert_file: String = text(""), "tls-cert-file", [VOLATILE | OUTSIDE];
    tls_key_file: String = text(""), "tls-key-file", [VOLATILE | OUTSIDE];
    tls_key_file_pass: Vec<u8> = vec![], "tls-key-file-pass", [SENSITIVE | OUTSIDE];
    tls_client_cert_file: String = text(""), "tls-client-cert-file", [VOLATILE | OUTSIDE];
    tls_client_key_file: String = text(""), "tls-client-key-file", [VOLATILE | OUTSIDE];
    tls_client_key_file_pass: Vec<u8> = vec![], "tls-client-key-file-pass", [SENSITIVE | OUTSIDE];
    /// Without effect: there is no suite with finite-field Diffie-Hellman.
    tls_dh_params_file: String = text(""), "tls-dh-params-file", [VOLATILE | OUTSIDE];
    tls_ca_cert_file: String = text(""), "tls-ca-cert-file", [VOLATILE | OUTSIDE];
    tls_ca_cert_dir: String = text(""), "tls-ca-cert-dir", [VOLATILE | OUTSIDE];
    tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes, "tls-auth-clients", [OUTSIDE];
    tls_replication: bool = false, "tls-replication", [OUTSIDE];
    tls_cluster: bool = false, "tls-cluster", [OUTSIDE];
    tls_protocols: String = text(""), "tls-protocols", [OUTSIDE];
    tls_ciphers: String = text(""), "tls-ciphers", [OUTSIDE];
    tls_ciphersuites: String = text(""), "tls-ciphersuites", [OUTSIDE];
    tls_prefer_server_ciphers: bool = false, "tls-prefer-server-ciphers", [OUTSIDE];
    tls_session_caching: bool = true, "tls-session-caching", [OUTSIDE];
    tls_session_cache_size: u32 = 20480, "tls-session-cache-size" => COUNT, [OUTSIDE];
    tls_session_cache_timeout: u32 = 300, "tls-session-cache-timeout" => COUNT, [OUTSIDE];

    // Metrics for Prometheus: not of Redis.
    /// 0 switches it off.
    metrics_port: u16 = 0, "metrics-port" => PORT, [LATER | OUTSIDE];
    metrics_bind: String = text("127.0.0.1"), "metrics-bind" => MAY_BE_EMPTY, [LATER | OUTSIDE];

    // Clients.
    maxclients: u32 = 10000, "maxclients" => Rule::range(1, u32::MAX as i128), [OUTSIDE];
    /// Bytes; as a negative number, percents of `maxmemory`; 0 for no limit.
    maxmemory_clients: i64 = 0, "maxmemory-clients"
        => Rule::range(-100, LONG_MAX).with_unit(Unit::MemoryOrPercent);
    client_query_buffer_limit: u64 = 1 << 30, "client-query-buffer-limit" => Rule::memory(MEGABYTE, LONG_MAX);
    client_output_buffer_limit: OutputLimits = OutputLimits::default(), "client-output-buffer-limit", [MULTI];
    proto_max_bulk_len: u64 = 512 << 20, "proto-max-bulk-len" => Rule::memory(MEGABYTE, LONG_MAX);
    tracking_table_max_keys: u64 = 1_000_000, "tracking-table-max-keys" => LONG;
    max_new_connections_per_cycle: u32 = 10, "max-new-connections-per-cycle" => Rule::range(1, 1000), [LATER];
    max_new_tls_connections_per_cycle: u32 = 1, "max-new-tls-connections-per-cycle" => Rule::range(1, 1000), [LATER];

    // Security.
    requirepass: Vec<u8> = vec![], "requirepass", [SENSITIVE];
    aclfile: String = text(""), "aclfile" => MAY_BE_EMPTY, [IMMUTABLE];
    acllog_max_len: u64 = 128, "acllog-max-len" => LONG;
    acl_pubsub_default: AclPubsubDefault = AclPubsubDefault::ResetChannels, "acl-pubsub-default";
    sanitize_dump_payload: SanitizeDumpPayload = SanitizeDumpPayload::No, "sanitize-dump-payload";
    hide_user_data_from_log: bool = true, "hide-user-data-from-log", [LATER];

    // Memory.
    /// Bytes; 0 for no limit.
    maxmemory: u64 = 0, "maxmemory" => Rule::memory(0, ULONG_MAX);
    maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::NoEviction, "maxmemory-policy";
    /// Of Valkey 8.1: keys are being copied from elsewhere, and expire there.
    import_mode: bool = false, "import-mode", [HIDDEN];
    maxmemory_samples: u32 = 5, "maxmemory-samples" => Rule::range(1, INT_MAX);
    maxmemory_eviction_tenacity: u32 = 10, "maxmemory-eviction-tenacity" => Rule::range(0, 100);
    lfu_log_factor: u32 = 10, "lfu-log-factor" => COUNT;
    /// Minutes.
    lfu_decay_time: u32 = 1, "lfu-decay-time" => COUNT;
    active_expire_effort: u32 = 1, "active-expire-effort" => Rule::range(1, 10);
    lazyfree_lazy_eviction: bool = false, "lazyfree-lazy-eviction";
    lazyfree_lazy_expire: bool = false, "lazyfree-lazy-expire";
    lazyfree_lazy_server_del: bool = false, "lazyfree-lazy-server-del";
    lazyfree_lazy_user_del: bool = false, "lazyfree-lazy-user-del";
    lazyfree_lazy_user_flush: bool = false, "lazyfree-lazy-user-flush";
    activerehashing: bool = true, "activerehashing";
    activedefrag: bool = false, "activedefrag" => Rule::NONE.with_check(checks::activedefrag);
    active_defrag_cycle_min: u32 = 1, "active-defrag-cycle-min" => Rule::range(1, 99);
    active_defrag_cycle_max: u32 = 25, "active-defrag-cycle-max" => Rule::range(1, 99);
    active_defrag_threshold_lower: u32 = 10, "active-defrag-threshold-lower" => Rule::range(0, 1000);
    active_defrag_threshold_upper: u32 = 100, "active-defrag-threshold-upper" => Rule::range(0, 1000);
    active_defrag_ignore_bytes: u64 = 100 << 20, "active-defrag-ignore-bytes" => Rule::memory(1, LONG_MAX);
    active_defrag_max_scan_fields: u64 = 1000, "active-defrag-max-scan-fields" => Rule::range(1, LONG_MAX);

    // Encodings.
    hash_max_listpack_entries: u64 = 512, "hash-max-listpack-entries" / "hash-max-ziplist-entries" => LONG;
    hash_max_listpack_value: u64 = 64, "hash-max-listpack-value" / "hash-max-ziplist-value" => MEMORY;
    /// Positive: entries a node; -1 to -5: 4, 8, 16, 32, 64 kB a node.
    list_max_listpack_size: i32 = -2, "list-max-listpack-size" / "list-max-ziplist-size" => ANY_INT;
    list_compress_depth: u32 = 0, "list-compress-depth" => COUNT;
    set_max_intset_entries: u64 = 512, "set-max-intset-entries" => LONG;
    set_max_listpack_entries: u64 = 128, "set-max-listpack-entries" => LONG, [LATER];
    set_max_listpack_value: u64 = 64, "set-max-listpack-value" => LONG, [LATER];
    zset_max_listpack_entries: u64 = 128, "zset-max-listpack-entries" / "zset-max-ziplist-entries" => LONG;
    zset_max_listpack_value: u64 = 64, "zset-max-listpack-value" / "zset-max-ziplist-value" => MEMORY;
    hll_sparse_max_bytes: u64 = 3000, "hll-sparse-max-bytes" => MEMORY;
    stream_node_max_bytes: u64 = 4096, "stream-node-max-bytes" => MEMORY;
    stream_node_max_entries: u64 = 100, "stream-node-max-entries" => LONG;

    // Snapshots.
    save: SavePoints = SavePoints::default(), "save", [MULTI];
    dbfilename: String = text("dump.rdb"), "dbfilename" => MAY_BE_EMPTY.with_check(checks::dbfilename), [PROTECTED];
    rdbchecksum: bool = true, "rdbchecksum", [IMMUTABLE];
    rdbcompression: bool = true, "rdbcompression";
    rdb_del_sync_files: bool = false, "rdb-del-sync-files";
    rdb_save_incremental_fsync: bool = true, "rdb-save-incremental-fsync";
    stop_writes_on_bgsave_error: bool = true, "stop-writes-on-bgsave-error";
    /// Microseconds a key; negative: so many keys a microsecond (a test's brake).
    rdb_key_save_delay: i32 = 0, "rdb-key-save-delay" => ANY_INT, [HIDDEN];
    /// As `rdb-key-save-delay`, when files are loaded.
    key_load_delay: i32 = 0, "key-load-delay" => ANY_INT, [HIDDEN];
    loading_process_events_interval_bytes: u64 = 2 << 20, "loading-process-events-interval-bytes"
        => Rule::range(1024, INT_MAX), [HIDDEN];

    // Append-only file.
    appendonly: bool = false, "appendonly", [DENY_LOADING | OUTSIDE];
    appendfsync: AppendFsync = AppendFsync::EverySec, "appendfsync";
    appendfilename: String = text("appendonly.aof"), "appendfilename"
        => MAY_BE_EMPTY.with_check(checks::appendfilename), [IMMUTABLE];
    appenddirname: String = text("appendonlydir"), "appenddirname"
        => MAY_BE_EMPTY.with_check(checks::appenddirname), [IMMUTABLE];
    no_appendfsync_on_rewrite: bool = false, "no-appendfsync-on-rewrite";
    auto_aof_rewrite_percentage: u32 = 100, "auto-aof-rewrite-percentage" => COUNT;
    auto_aof_rewrite_min_size: u64 = 64 << 20, "auto-aof-rewrite-min-size" => MEMORY;
    aof_load_truncated: bool = true, "aof-load-truncated";
    aof_use_rdb_preamble: bool = true, "aof-use-rdb-preamble";
    aof_timestamp_enabled: bool = false, "aof-timestamp-enabled";
    aof_rewrite_incremental_fsync: bool = true, "aof-rewrite-incremental-fsync";
    aof_disable_auto_gc: bool = false, "aof-disable-auto-gc";

    // Replication.
    replicaof: ReplicaOf = ReplicaOf::default(), "replicaof" / "slaveof", [IMMUTABLE | MULTI];
    masterauth: Vec<u8> = vec![], "masterauth", [SENSITIVE];
    masteruser: Vec<u8> = vec![], "masteruser", [SENSITIVE];
    replica_serve_stale_data: bool = true, "replica-serve-stale-data" / "slave-serve-stale-data";
    replica_read_only: bool = true, "replica-read-only" / "slave-read-only";
    replica_ignore_maxmemory: bool = true, "replica-ignore-maxmemory" / "slave-ignore-maxmemory";
    replica_lazy_flush: bool = false, "replica-lazy-flush" / "slave-lazy-flush";
    replica_priority: u32 = 100, "replica-priority" / "slave-priority" => COUNT;
    replica_announce_ip: String = text(""), "replica-announce-ip" / "slave-announce-ip";
    replica_announce_port: u16 = 0, "replica-announce-port" / "slave-announce-port" => PORT;
    replica_announced: bool = true, "replica-announced";
    replica_ignore_disk_write_errors: bool = false, "replica-ignore-disk-write-errors";
    repl_diskless_sync: bool = true, "repl-diskless-sync";
    /// Seconds.
    repl_diskless_sync_delay: u32 = 5, "repl-diskless-sync-delay" => COUNT;
    repl_diskless_sync_max_replicas: u32 = 0, "repl-diskless-sync-max-replicas" => COUNT;
    repl_diskless_load: ReplDisklessLoad = ReplDisklessLoad::Disabled, "repl-diskless-load", [DENY_LOADING];
    /// Seconds.
    repl_ping_replica_period: u32 = 10, "repl-ping-replica-period" / "repl-ping-slave-period"
        => Rule::range(1, INT_MAX);
    /// Seconds.
    repl_timeout: u32 = 60, "repl-timeout" => Rule::range(1, INT_MAX);
    repl_disable_tcp_nodelay: bool = false, "repl-disable-tcp-nodelay";
    repl_backlog_size: u64 = 1 << 20, "repl-backlog-size" => Rule::memory(1, LONG_MAX);
    /// Seconds.
    repl_backlog_ttl: u64 = 3600, "repl-backlog-ttl" => LONG;
    min_replicas_to_write: u32 = 0, "min-replicas-to-write" / "min-slaves-to-write" => COUNT;
    /// Seconds.
    min_replicas_max_lag: u32 = 10, "min-replicas-max-lag" / "min-slaves-max-lag" => COUNT;
    propagation_error_behavior: PropagationErrorBehavior = PropagationErrorBehavior::Ignore,
        "propagation-error-behavior";

    // Cluster.
    cluster_enabled: bool = false, "cluster-enabled", [IMMUTABLE];
    cluster_config_file: String = text("nodes.conf"), "cluster-config-file" => MAY_BE_EMPTY, [IMMUTABLE];
    /// 0 for the clients' port plus 10000.
    cluster_port: u16 = 0, "cluster-port" => PORT, [IMMUTABLE];
    /// Milliseconds.
    cluster_node_timeout: u64 = 15000, "cluster-node-timeout" => LONG;
    cluster_replica_validity_factor: u32 = 10, "cluster-replica-validity-factor" / "cluster-slave-validity-factor"
        => COUNT;
    cluster_replica_no_failover: bool = false, "cluster-replica-no-failover" / "cluster-slave-no-failover";
    cluster_migration_barrier: u32 = 1, "cluster-migration-barrier" => COUNT;
    cluster_allow_replica_migration: bool = true, "cluster-allow-replica-migration";
    cluster_require_full_coverage: bool = true, "cluster-require-full-coverage";
    cluster_allow_reads_when_down: bool = false, "cluster-allow-reads-when-down";
    cluster_allow_pubsubshard_when_down: bool = true, "cluster-allow-pubsubshard-when-down";
    cluster_announce_ip: String = text(""), "cluster-announce-ip";
    cluster_announce_port: u16 = 0, "cluster-announce-port" => PORT;
    cluster_announce_tls_port: u16 = 0, "cluster-announce-tls-port" => PORT;
    cluster_announce_bus_port: u16 = 0, "cluster-announce-bus-port" => PORT;
    cluster_announce_hostname: String = text(""), "cluster-announce-hostname"
        => Rule::NONE.with_check(checks::announced_hostname);
    cluster_announce_human_nodename: String = text(""), "cluster-announce-human-nodename"
        => Rule::NONE.with_check(checks::announced_hostname), [LATER];
    cluster_preferred_endpoint_type: ClusterPreferredEndpointType = ClusterPreferredEndpointType::Ip,
        "cluster-preferred-endpoint-type";
    /// Bytes; 0 for no limit.
    cluster_link_sendbuf_limit: u64 = 0, "cluster-link-sendbuf-limit" => Rule::memory(0, ULONG_MAX);
    /// Milliseconds; 0 for half of the node timeout.
    cluster_ping_interval: u64 = 0, "cluster-ping-interval" => LONG, [LATER];
    /// Seconds.
    cluster_blacklist_ttl: u64 = 60, "cluster-blacklist-ttl" => LONG, [LATER];

    // Observation.
    /// Microseconds; negative switches the log off.
    slowlog_log_slower_than: i64 = 10000, "slowlog-log-slower-than" / "commandlog-execution-slower-than"
        => Rule::range(-1, LONG_MAX), [LATER_ALIAS];
    slowlog_max_len: u64 = 128, "slowlog-max-len" / "commandlog-slow-execution-max-len" => LONG, [LATER_ALIAS];
    /// Bytes; negative switches the log off.
    commandlog_request_larger_than: i64 = MEGABYTE as i64, "commandlog-request-larger-than"
        => Rule::range(-1, LONG_MAX), [LATER];
    commandlog_large_request_max_len: u64 = 128, "commandlog-large-request-max-len" => LONG, [LATER];
    /// Bytes; negative switches the log off.
    commandlog_reply_larger_than: i64 = MEGABYTE as i64, "commandlog-reply-larger-than"
        => Rule::range(-1, LONG_MAX), [LATER];
    commandlog_large_reply_max_len: u64 = 128, "commandlog-large-reply-max-len" => LONG, [LATER];
    /// Milliseconds; 0 switches it off.
    latency_monitor_threshold: u64 = 0, "latency-monitor-threshold" => LONG;
    latency_tracking: bool = true, "latency-tracking";
    latency_tracking_info_percentiles: Percentiles = Percentiles(vec![50.0, 99.0, 99.9]),
        "latency-tracking-info-percentiles", [MULTI];
    notify_keyspace_events: NotifyEvents = NotifyEvents::default(), "notify-keyspace-events";

    // Scripts and shutdown.
    /// Milliseconds.
    busy_reply_threshold: u64 = 5000, "busy-reply-threshold" / "lua-time-limit" => LONG;
    /// Seconds.
    shutdown_timeout: u32 = 10, "shutdown-timeout" => COUNT;
    shutdown_on_sigint: ShutdownFlags = ShutdownFlags::default(), "shutdown-on-sigint", [MULTI];
    shutdown_on_sigterm: ShutdownFlags = ShutdownFlags::default(), "shutdown-on-sigterm", [MULTI];
}
