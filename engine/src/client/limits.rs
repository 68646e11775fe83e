//! What a client may not overdo: being there at all, being idle, what it sends, what it leaves unread.

use core::net::IpAddr;

use super::{Session, alert};
use crate::config::{Config, OutputLimit};
use crate::face::{Address, Now};

/// What a client is told that protected mode keeps out.
const PROTECTED: &str = "DENIED Redis is running in protected mode because protected mode is enabled and no password \
is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to \
connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode \
sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same \
host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG \
REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis \
configuration file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started \
the server manually just for testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication \
password for the default user. NOTE: You only need to do one of the above things in order for the server to start \
accepting connections from the outside.";

/// Whether the other end is on this machine.
pub fn is_local(peer: &Address) -> bool {
    match peer {
        Address::Ip(socket) => match socket.ip() {
            IpAddr::V4(ip) => ip.octets() == [127, 0, 0, 1],
            IpAddr::V6(ip) => ip == core::net::Ipv6Addr::LOCALHOST,
        },
        Address::Unix(_) => true,
    }
}

/// Why a new connection may not stay, as the error that it gets; `None` if it may. `clients` and `bus` count
/// the connections of clients and of the cluster bus, without it; `open`: no password is asked for.
pub fn refusal(
    config: &Config,
    open: bool,
    peer: &Address,
    clients: usize,
    bus: usize,
) -> Option<&'static str> {
    if clients + bus >= config.maxclients as usize {
        return Some(if config.cluster_enabled {
            "ERR max number of clients + cluster connections reached"
        } else {
            "ERR max number of clients reached"
        });
    }
    exposure(config, open, peer)
}

/// Why a connection may not stay in protected mode; `None` if it may. `open`: no password is asked for.
pub fn exposure(config: &Config, open: bool, peer: &Address) -> Option<&'static str> {
    (config.protected_mode && open && !is_local(peer)).then_some(PROTECTED)
}

/// Whether a client has been silent for longer than `timeout` allows.
pub fn idle(session: &Session, config: &Config, now: Now) -> bool {
    let exempt = alert::REPLICA | alert::TRUSTED | alert::CLOSING;
    let silent_ms = now.mono_ms().saturating_sub(session.active_ms);
    config.timeout > 0
        && session.alerts & (exempt | alert::SUBSCRIBED) == 0
        && session.blocked.is_none()
        && silent_ms / 1000 > u64::from(config.timeout)
}

/// The most bytes that a client may leave unread before it has said who it is: all that it gets are errors.
const UNREAD_BY_STRANGERS: u64 = 32 << 10;

/// Whether a client leaves more unread than `client-output-buffer-limit` allows. Replicas have a limit of
/// their own, which replication sees to.
pub fn overrun(session: &mut Session, config: &Config, now: Now) -> bool {
    if session.is(alert::UNAUTHENTICATED) && session.out.pending() > UNREAD_BY_STRANGERS {
        return !session.is(alert::REPLICA | alert::CLOSING);
    }
    let limits = &config.client_output_buffer_limit;
    let limit = if session.is(alert::SUBSCRIBED) {
        limits.pubsub
    } else {
        limits.normal
    };
    if limit == OutputLimit::default() || session.is(alert::REPLICA | alert::CLOSING) {
        return false;
    }
    let waiting = session.out.pending();
    let above = |bytes: u64| bytes > 0 && waiting > bytes;
    if !above(limit.soft_bytes) {
        session.above_soft_limit_since_ms = None;
        return above(limit.hard_bytes);
    }
    let since = *session
        .above_soft_limit_since_ms
        .get_or_insert(now.mono_ms());
    above(limit.hard_bytes) || now.mono_ms().saturating_sub(since) / 1000 > limit.soft_seconds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::{ConnId, Listener};

    fn session() -> Session {
        let address = || Address::Unix("/s".into());
        Session::new(
            1,
            ConnId::accepted(0, 0),
            Listener::Unix,
            address(),
            address(),
            Now::default(),
        )
    }

    fn at_s(seconds: u64) -> Now {
        Now {
            mono_us: seconds * 1_000_000,
            unix_us: 0,
        }
    }

    #[test]
    fn strangers_need_a_password_and_everybody_a_place() {
        let mut config = Config::default();
        let far = Address::Ip(([10, 0, 0, 1], 1).into());
        let near = Address::Ip(([127, 0, 0, 1], 1).into());
        let refused = |open| refusal(&config, open, &far, 0, 0);
        assert!(refused(true).is_some_and(|e| e.starts_with("DENIED ")));
        assert_eq!(refusal(&config, true, &near, 0, 0), None);
        assert_eq!(refused(false), None);
        config.maxclients = 3;
        assert_eq!(refusal(&config, false, &far, 1, 1), None);
        assert_eq!(
            refusal(&config, false, &far, 2, 1),
            Some("ERR max number of clients reached")
        );
    }

    #[test]
    fn the_soft_limit_counts_time_without_a_break() {
        let mut config = Config::default();
        config.client_output_buffer_limit.normal = OutputLimit {
            hard_bytes: 100,
            soft_bytes: 10,
            soft_seconds: 5,
        };
        let mut session = session();
        session.out.raw(&[0; 20]);
        assert!(!overrun(&mut session, &config, at_s(0)));
        assert!(!overrun(&mut session, &config, at_s(5)));
        session.out.advance(15);
        assert!(!overrun(&mut session, &config, at_s(6)));
        session.out.raw(&[0; 20]);
        assert!(!overrun(&mut session, &config, at_s(7)));
        assert!(overrun(&mut session, &config, at_s(13)));
        session.out.advance(25);
        session.out.raw(&[0; 101]);
        assert!(overrun(&mut session, &config, at_s(14)));
    }

    #[test]
    fn silence_is_measured_from_the_last_request() {
        let config = Config {
            timeout: 10,
            ..Config::default()
        };
        let mut session = session();
        assert!(!idle(&session, &config, at_s(10)));
        assert!(idle(&session, &config, at_s(11)));
        session.active_ms = 5_000;
        assert!(!idle(&session, &config, at_s(11)));
        session.set(alert::REPLICA, true);
        assert!(!idle(&session, &config, at_s(1000)));
    }
}
