//! What the configuration says about the cluster. The engine fills this in from its directives.

use alloc::string::String;

/// Settings, each named after its directive (`cluster-…` unless said otherwise).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `port`.
    pub port: u16,
    /// `tls-port`.
    pub tls_port: u16,
    /// `tls-cluster`: the bus and the announced port are TLS.
    pub tls_cluster: bool,
    /// `tls-replication`: replicas of a TLS cluster follow the port that they are told, not the plain one.
    pub tls_replication: bool,
    /// `cluster-port`; 0 means the client port plus 10000.
    pub bus_port: u16,
    /// `announce-ip`; empty: found out from connections.
    pub announce_ip: String,
    /// `announce-port`; 0: the real one.
    pub announce_port: u16,
    /// `announce-tls-port`; 0: the real one.
    pub announce_tls_port: u16,
    /// `announce-bus-port`; 0: the real one.
    pub announce_bus_port: u16,
    /// `announce-hostname`; empty: none.
    pub announce_hostname: String,
    /// `announce-human-nodename`: what people call it, in logs; empty: nothing.
    pub announce_human_nodename: String,
    /// `preferred-endpoint-type`.
    pub preferred_endpoint: EndpointType,
    /// `config-file`, where membership is kept.
    pub config_file: String,
    /// `node-timeout` in milliseconds.
    pub node_timeout_ms: u64,
    /// `ping-interval`: milliseconds after which who was not heard of is pinged; 0 for half of the node timeout.
    pub ping_interval_ms: u64,
    /// `blacklist-ttl`: seconds for which a forgotten node must not come back: time to tell all others.
    pub blacklist_ttl_s: u64,
    /// `link-sendbuf-limit`: bytes that may wait for a connection to take them; 0 for no limit.
    pub link_sendbuf_limit: u64,
    /// `replica-validity-factor`; 0: a replica's data is never too old.
    pub replica_validity_factor: u64,
    /// `repl-ping-replica-period` (a directive of replication) in milliseconds.
    pub repl_ping_period_ms: u64,
    /// `replica-no-failover`.
    pub replica_no_failover: bool,
    /// `migration-barrier`.
    pub migration_barrier: usize,
    /// `allow-replica-migration`.
    pub allow_replica_migration: bool,
    /// `require-full-coverage`.
    pub require_full_coverage: bool,
    /// `allow-reads-when-down`.
    pub allow_reads_when_down: bool,
    /// `allow-pubsubshard-when-down`.
    pub allow_pubsubshard_when_down: bool,
    /// Beyond Redis: a replica with no data never becomes a primary by election, whatever else holds.
    pub no_empty_promotion: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            port: 6379,
            tls_port: 0,
            tls_cluster: false,
            tls_replication: false,
            bus_port: 0,
            announce_ip: String::new(),
            announce_port: 0,
            announce_tls_port: 0,
            announce_bus_port: 0,
            announce_hostname: String::new(),
            announce_human_nodename: String::new(),
            preferred_endpoint: EndpointType::Ip,
            config_file: String::from("nodes.conf"),
            node_timeout_ms: 15_000,
            ping_interval_ms: 0,
            blacklist_ttl_s: 60,
            link_sendbuf_limit: 0,
            replica_validity_factor: 10,
            repl_ping_period_ms: 10_000,
            replica_no_failover: false,
            migration_barrier: 1,
            allow_replica_migration: true,
            require_full_coverage: true,
            allow_reads_when_down: false,
            allow_pubsubshard_when_down: true,
            no_empty_promotion: false,
        }
    }
}

/// How clients are told where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointType {
    /// `ip`.
    Ip,
    /// `hostname`.
    Hostname,
    /// `unknown-endpoint`: where they already are, at another port.
    Unknown,
}

impl Settings {
    /// The ports that others are told: for clients, for clients in plain text (only in a TLS cluster), and
    /// of the bus.
    pub fn announced_ports(&self) -> (u16, u16, u16) {
        let own = if self.tls_cluster {
            self.tls_port
        } else {
            self.port
        };
        let (port, plain) = if self.tls_cluster && self.announce_tls_port != 0 {
            (self.announce_tls_port, self.announce_port)
        } else {
            let port = if self.announce_port != 0 {
                self.announce_port
            } else {
                own
            };
            (port, if self.tls_cluster { self.port } else { 0 })
        };
        let bus = match (self.announce_bus_port, self.bus_port) {
            (0, 0) => own.saturating_add(10_000),
            (0, bus) => bus,
            (announced, _) => announced,
        };
        (port, plain, bus)
    }

    /// How long a node may stay in handshake, in milliseconds.
    pub(super) fn handshake_timeout_ms(&self) -> u64 {
        self.node_timeout_ms.max(1000)
    }
}
