//! CONFIG SET of what only the runtime can do: ports, certificates, limits of the system.

use super::{CIPHER, METRICS, Server, log_level};
use crate::log::words;
use crate::tls::{self, Tls};
use crate::{crash, limits, listen};
use reprise_engine::{Listener, Refusal};

impl Server {
    /// Acts on directives that CONFIG SET changed; says what it cannot do. What it has done until then is
    /// undone when the engine has the old values again.
    pub(super) fn reconfigure(&mut self, names: &[&'static str]) -> Option<Refusal> {
        let refusal = |name, reason| Some(Refusal { name, reason });
        if names.contains(&"dir")
            && let Err(error) = std::env::set_current_dir(&self.engine.config().dir.0)
        {
            return refusal("dir", words(&error));
        }
        if let Some(&name) = names.iter().find(|name| is_tls_setting(name))
            && !self.load_tls()
        {
            let reason = "Unable to update TLS configuration. Check server logs.";
            return refusal(name, reason.into());
        }
        for &name in names {
            match name {
                "port" | "tls-port" | "bind" => {
                    let kinds: &[Listener] = match name {
                        "port" => &[Listener::Tcp],
                        "tls-port" => &[Listener::Tls],
                        _ => &[Listener::Tcp, Listener::Tls],
                    };
                    if let Err(failed) = self.listen_anew(kinds) {
                        self.log.warning(&failed);
                        let reason = match name {
                            "bind" => "Failed to bind to specified addresses.",
                            _ => "Unable to listen on this port. Check server logs.",
                        };
                        return refusal(name, reason.into());
                    }
                }
                "metrics-port" | "metrics-bind" => {
                    if let Err(failed) = self.listen_for_metrics() {
                        self.log.warning(&failed);
                        let reason = "Unable to listen on this port. Check server logs.";
                        return refusal(name, reason.into());
                    }
                }
                "crash-log-enabled" | "use-exit-on-panic" => crash::configure(self.engine.config()),
                "watchdog-period" => crash::set_timer(0),
                "loglevel" => self.log.set_level(log_level(self.engine.config().loglevel)),
                "oom-score-adj" | "oom-score-adj-values"
                    if self.oom.apply(self.engine.config(), &self.log).is_err() =>
                {
                    let reason = "Failed to set current oom_score_adj. Check server logs.";
                    return refusal(name, reason.into());
                }
                "maxclients" => {
                    let wanted = self.engine.config().maxclients;
                    let fitting = limits::adjust_open_files(wanted, &self.log);
                    if fitting != wanted {
                        let reason = format!(
                            "The operating system is not able to handle the specified number of clients, try with {fitting}"
                        );
                        return refusal(name, reason);
                    }
                }
                _ => {}
            }
        }
        self.outer.title.show(self.engine.config());
        None
    }

    pub(super) fn listen_for_metrics(&mut self) -> Result<(), String> {
        let (config, registry) = (self.engine.config(), self.poll.registry());
        self.metrics.listen(config, registry, METRICS)
    }

    /// Reads certificates and keys again, if anything is to speak TLS. True unless that fails; then all is
    /// as it was.
    fn load_tls(&mut self) -> bool {
        let config = self.engine.config();
        if !tls::wanted(config) {
            return true;
        }
        let Some(loaded) = Tls::load(config, &self.log) else {
            return false;
        };
        self.tls = Some(loaded);
        self.cipher = vec![0; CIPHER].into_boxed_slice();
        true
    }

    /// Closes the clients' listeners of these kinds, and opens those that the configuration asks for; or
    /// tells why not.
    fn listen_anew(&mut self, kinds: &[Listener]) -> Result<(), String> {
        for slot in &mut self.listeners {
            if slot.as_ref().is_some_and(|l| kinds.contains(&l.kind)) {
                *slot = None;
            }
        }
        for &kind in kinds {
            let opened = listen::open_clients(self.engine.config(), kind, &self.log)
                .map_err(|failed| failed.0)?;
            self.watch_listeners(opened)
                .map_err(|error| format!("Watching a listener failed: {}", words(&error)))?;
        }
        Ok(())
    }
}

/// Whether the contexts of TLS depend on a directive.
fn is_tls_setting(name: &str) -> bool {
    name.starts_with("tls-")
}
