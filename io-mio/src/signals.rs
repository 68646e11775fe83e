//! Signals as bytes on a pipe that the poll loop watches.
//!
//! SIGTERM and SIGINT ask for an orderly end; a SIGINT after either ends the process on the spot. SIGHUP and
//! SIGPIPE (the latter by Rust's own start-up) do nothing. What a crash raises is in [`crate::crash`].

use crate::crash;
use mio::net::UnixStream;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The signals that have arrived.
pub struct Signals {
    /// Becomes readable when one arrives.
    pub pipe: UnixStream,
    terminate: Arc<AtomicBool>,
    interrupt: Arc<AtomicBool>,
    /// A shutdown was asked for, and not called off.
    asked: Arc<AtomicBool>,
}

impl Signals {
    /// Takes over the process's signals.
    pub fn install() -> io::Result<Signals> {
        let (pipe, sender) = std::os::unix::net::UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        let (terminate, interrupt) = (Arc::default(), Arc::<AtomicBool>::default());
        let asked = Arc::<AtomicBool>::default();
        // Before the flag is set for the first time, these do nothing; after that the second exits.
        crash::say_on(SIGINT, Arc::clone(&asked), "You insist... exiting now.")?;
        flag::register_conditional_shutdown(SIGINT, 1, Arc::clone(&asked))?;
        flag::register(SIGINT, Arc::clone(&asked))?;
        flag::register(SIGTERM, Arc::clone(&asked))?;
        flag::register(SIGINT, Arc::clone(&interrupt))?;
        flag::register(SIGTERM, Arc::clone(&terminate))?;
        flag::register(SIGHUP, Arc::default())?;
        low_level::pipe::register(SIGINT, sender.try_clone()?)?;
        low_level::pipe::register(SIGTERM, sender)?;
        Ok(Signals {
            pipe: UnixStream::from_std(pipe),
            terminate,
            interrupt,
            asked,
        })
    }

    /// The name of a signal that asks for the end, once for each time that it arrived.
    pub fn shutdown(&mut self) -> Option<&'static str> {
        let mut bytes = [0; 64];
        while matches!(self.pipe.read(&mut bytes), Ok(n) if n > 0) {}
        if self.terminate.swap(false, Ordering::Relaxed) {
            return Some("SIGTERM");
        }
        self.interrupt
            .swap(false, Ordering::Relaxed)
            .then_some("SIGINT")
    }

    /// The process stays: the next SIGINT asks again.
    pub fn called_off(&self) {
        self.asked.store(false, Ordering::Relaxed);
    }
}
