//! Listeners: which addresses the configuration asks for, and opening them.

use crate::log::{Logger, words};
use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use reprise_engine::Listener;
use reprise_engine::config::Config;
use socket2::{Domain, Protocol, Socket, Type};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;

/// An open listener.
pub enum Open {
    /// Of the clients or the cluster bus.
    Tcp(TcpListener),
    /// Of the clients.
    Unix(UnixListener),
}

impl Open {
    /// As mio registers it.
    pub fn source(&mut self) -> &mut dyn Source {
        match self {
            Open::Tcp(listener) => listener,
            Open::Unix(listener) => listener,
        }
    }
}

/// Why listening failed, as the last line of the log says it.
#[derive(Debug)]
pub struct Failed(pub String);

/// Opens every listener that the configuration asks for.
pub fn open_all(config: &Config, log: &Logger) -> Result<Vec<(Listener, Open)>, Failed> {
    let mut open = Vec::new();
    for kind in [Listener::Tcp, Listener::Tls] {
        open.extend(open_clients(config, kind, log)?);
    }
    if !config.unixsocket.is_empty() {
        open.push((Listener::Unix, unix(config)?));
    }
    if open.is_empty() {
        return Err(Failed("Configured to not listen anywhere, exiting.".into()));
    }
    if config.cluster_enabled {
        open.extend(tcp(config, bus_port(config)?, Listener::Bus, log)?);
    }
    Ok(open)
}

/// The clients' listeners for plain text or TLS only, also for a change of a port or `bind` at run time.
pub fn open_clients(
    config: &Config,
    kind: Listener,
    log: &Logger,
) -> Result<Vec<(Listener, Open)>, Failed> {
    let port = match kind {
        Listener::Tls => config.tls_port,
        _ => config.port,
    };
    if port == 0 {
        Ok(Vec::new())
    } else {
        tcp(config, port, kind, log)
    }
}

/// The port of the cluster bus.
fn bus_port(config: &Config) -> Result<u16, Failed> {
    const OFFSET: u16 = 10000;
    let port = if config.tls_cluster {
        config.tls_port
    } else {
        config.port
    };
    match (config.cluster_port, port.checked_add(OFFSET)) {
        (0, Some(port)) => Ok(port),
        (0, None) => Err(Failed(format!(
            "Redis port number too high for cluster mode. Cluster bus port number cannot be greater than 65535. \
             Your Redis port number must be {} or less.",
            u16::MAX - OFFSET
        ))),
        (port, _) => Ok(port),
    }
}

fn tcp(
    config: &Config,
    port: u16,
    kind: Listener,
    log: &Logger,
) -> Result<Vec<(Listener, Open)>, Failed> {
    let mut open = Vec::new();
    for entry in &config.bind.0 {
        let (optional, host) = match entry.strip_prefix('-') {
            Some(host) => (true, host),
            None => (false, entry.as_str()),
        };
        match socket(host, port, config) {
            Ok(socket) => open.push((kind, Open::Tcp(TcpListener::from_std(socket.into())))),
            Err(error) => {
                log.warning(&format!(
                    "Warning: Could not create server TCP listening socket {host}:{port}: {}",
                    described(&error)
                ));
                if !(optional && error.raw_os_error() == Some(libc::EADDRNOTAVAIL)
                    || is_unsupported(&error))
                {
                    let name = match kind {
                        Listener::Bus => "cluster",
                        Listener::Tls => "TLS",
                        _ => "TCP",
                    };
                    return Err(Failed(format!(
                        "Failed listening on port {port} ({name}), aborting."
                    )));
                }
            }
        }
    }
    Ok(open)
}

/// Redis names the call that failed.
fn described(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE | libc::EADDRNOTAVAIL | libc::EACCES) => {
            format!("bind: {}", words(error))
        }
        _ => words(error),
    }
}

/// Whether the machine does not know this family of addresses at all.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENOPROTOOPT
                | libc::EPROTONOSUPPORT
                | libc::ESOCKTNOSUPPORT
                | libc::EPFNOSUPPORT
                | libc::EAFNOSUPPORT
        )
    )
}

/// A listening socket.
pub fn socket(host: &str, port: u16, config: &Config) -> io::Result<Socket> {
    let address = address(host, port)?;
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    mark(&socket, config)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// `socket-mark-id`: marks what a socket sends, for the system's filters and routes. Linux alone has it.
pub fn mark(socket: &Socket, config: &Config) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if config.socket_mark_id != 0 {
        socket.set_mark(config.socket_mark_id)?;
    }
    let _ = (socket, config);
    Ok(())
}

/// `*` is all of IPv4, `::*` all of IPv6; names are looked up (at the start, so waiting is no harm).
fn address(host: &str, port: u16) -> io::Result<SocketAddr> {
    let ip: IpAddr = match host {
        "*" => Ipv4Addr::UNSPECIFIED.into(),
        "::*" => Ipv6Addr::UNSPECIFIED.into(),
        _ => match host.parse() {
            Ok(ip) => ip,
            Err(_) => {
                let found = (host, port).to_socket_addrs()?.next();
                return found.ok_or_else(|| io::Error::from_raw_os_error(libc::EADDRNOTAVAIL));
            }
        },
    };
    Ok(SocketAddr::new(ip, port))
}

fn unix(config: &Config) -> Result<Open, Failed> {
    let failed = |error: io::Error| {
        Failed(format!(
            "Failed opening Unix socket: bind: {}",
            words(&error)
        ))
    };
    // Left over from a process that could not clean up; if there is none, all the better.
    let _ = fs::remove_file(&config.unixsocket);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    socket
        .bind(&socket2::SockAddr::unix(&config.unixsocket).map_err(failed)?)
        .map_err(failed)?;
    if config.unixsocketperm != 0 {
        let mode = fs::Permissions::from_mode(config.unixsocketperm);
        fs::set_permissions(&config.unixsocket, mode).map_err(failed)?;
    }
    socket
        .listen(i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX))
        .map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    Ok(Open::Unix(UnixListener::from_std(socket.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reprise_engine::LogLevel;
    use reprise_engine::config::BindList;

    fn config(bind: &[&str], port: u16) -> Config {
        let bind = BindList(bind.iter().map(|s| s.to_string()).collect());
        Config {
            bind,
            port,
            ..Config::default()
        }
    }

    fn quiet(dir: &tempfile::TempDir) -> Logger {
        Logger::new(dir.path().join("log").to_str().unwrap(), LogLevel::Debug)
    }

    #[test]
    fn a_busy_port_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let log = quiet(&dir);
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let failed = open_all(&config(&["127.0.0.1"], port), &log).err().unwrap();
        assert_eq!(
            failed.0,
            format!("Failed listening on port {port} (TCP), aborting.")
        );
        let text = fs::read_to_string(dir.path().join("log")).unwrap();
        let line = format!(
            "Warning: Could not create server TCP listening socket 127.0.0.1:{port}: bind: Address already in use\n"
        );
        assert!(text.ends_with(&line), "{text}");
    }

    #[test]
    fn an_optional_address_may_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        let log = quiet(&dir);
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        // 192.0.2.0/24 is for documentation only: no machine has it.
        assert_eq!(
            open_all(&config(&["127.0.0.1", "-192.0.2.1"], free), &log)
                .unwrap()
                .len(),
            1
        );
        assert!(open_all(&config(&["192.0.2.1"], free), &log).is_err());
        assert!(open_all(&config(&["127.0.0.1"], 0), &log).is_err());
        let socket = dir.path().join("s").to_str().unwrap().to_string();
        let unix = Config {
            unixsocket: socket.clone(),
            unixsocketperm: 0o700,
            ..config(&[], 0)
        };
        // Twice: the first one's socket is left behind.
        for _ in 0..2 {
            assert!(matches!(
                open_all(&unix, &log).unwrap()[..],
                [(Listener::Unix, Open::Unix(_))]
            ));
        }
        assert_eq!(
            fs::metadata(socket).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn the_bus_has_its_own_port() {
        let port = |port, cluster_port| {
            bus_port(&Config {
                port,
                cluster_port,
                ..Config::default()
            })
        };
        assert_eq!(port(7000, 0).unwrap(), 17000);
        assert_eq!(port(7000, 9).unwrap(), 9);
        assert!(port(60000, 0).is_err());
    }
}
