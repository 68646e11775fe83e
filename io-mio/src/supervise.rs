//! What started us may want to know how we are: systemd by messages on the socket that `NOTIFY_SOCKET`
//! names, upstart by our stopping once. Source: sd_notify(3).

use crate::log::{Logger, words};
use crate::sys;
use reprise_engine::Status;
use reprise_engine::config::{Config, Supervised};
use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The line to who supervises us, if anybody does.
#[derive(Default)]
pub struct Supervisor {
    systemd: Option<(UnixDatagram, SocketAddr)>,
}

impl Supervisor {
    /// Finds out who supervises us, among those whom the configuration allows; it says so afterwards.
    pub fn find(config: &mut Config, log: &Logger) -> Supervisor {
        let wanted = match config.supervised {
            Supervised::Auto if env::var_os("UPSTART_JOB").is_some() => Supervised::Upstart,
            Supervised::Auto if env::var_os("NOTIFY_SOCKET").is_some() => Supervised::Systemd,
            Supervised::Auto => Supervised::No,
            other => other,
        };
        config.supervised = Supervised::No;
        match wanted {
            Supervised::Upstart if env::var_os("UPSTART_JOB").is_none() => {
                log.warning("upstart supervision requested, but UPSTART_JOB not found!");
            }
            Supervised::Upstart => {
                log.notice("supervised by upstart, will stop to signal readiness.");
                let _ = signal_hook::low_level::raise(libc::SIGSTOP);
                config.supervised = wanted;
            }
            Supervised::Systemd => match systemd() {
                Ok(line) => {
                    log.notice(
                        "supervised by systemd. Please make sure you set appropriate values for TimeoutStartSec and \
                         TimeoutStopSec in your service unit.",
                    );
                    config.supervised = wanted;
                    let supervisor = Supervisor {
                        systemd: Some(line),
                    };
                    supervisor.send("STATUS=Redis is loading...\n");
                    return supervisor;
                }
                Err(why) => log.warning(&format!("systemd supervision error: {why}")),
            },
            _ => {}
        }
        Supervisor::default()
    }

    /// Passes on what the engine says of itself.
    pub fn tell(&self, status: Status) {
        self.send(match status {
            Status::Ready { replica: false } => {
                "STATUS=Ready to accept connections\nREADY=1\n"
            }
            Status::Ready { replica: true } => {
                "STATUS=Ready to accept connections in read-only mode. Waiting for MASTER <-> REPLICA sync\nREADY=1\n"
            }
            Status::Stopping => "STOPPING=1\n",
            Status::Saving => "STATUS=Saving the final RDB snapshot\n",
            Status::Failed => "STATUS=Error trying to save the DB, can't exit.\n",
            Status::Resumed => "STATUS=Ready to accept connections\n",
        });
    }

    /// The configuration is being changed: from now until [`Supervisor::reloaded`].
    pub fn reloading(&self) {
        if self.systemd.is_some() {
            let mono_us = sys::monotonic_us();
            self.send(&format!("RELOADING=1\nMONOTONIC_USEC={mono_us}\n"));
        }
    }

    /// The configuration has been changed.
    pub fn reloaded(&self) {
        self.send("READY=1\n");
    }

    fn send(&self, text: &str) {
        if let Some((socket, address)) = &self.systemd {
            // Who does not listen does not want to know.
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }
}

fn systemd() -> Result<(UnixDatagram, SocketAddr), String> {
    let path = env::var_os("NOTIFY_SOCKET").ok_or("NOTIFY_SOCKET not found!")?;
    let line = || -> io::Result<(UnixDatagram, SocketAddr)> {
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok((socket, address))
    };
    line().map_err(|error| format!("sd_notify: {}", words(&error)))
}
