//! `reprise-server`: the engine on a machine.
//!
//! One thread polls and executes ([`poll`]), one carries out disk requests ([`disk`]), one looks up
//! host names ([`connect`]). Everything the server decides is decided in the engine; here are only
//! sockets, files, clocks and signals. Start-up goes as Redis's does, with the same lines in the log.

mod allocator;
mod args;
mod clock;
mod connect;
mod conns;
mod cpus;
mod crash;
#[cfg(test)]
mod directives;
mod disk;
mod limits;
mod listen;
mod log;
mod mapped;
mod metrics;
mod oom;
mod pages;
mod poll;
mod purge;
mod report;
mod signals;
mod supervise;
mod sys;
mod title;
mod tls;

use args::{LoadError, Wish};
use log::{Logger, words};
use pages::Pages;
use poll::Outer;
use reprise_engine::LogLevel;
use reprise_engine::config::file::CommandLine;
use reprise_engine::config::{Config, Supervised};
use std::fs;
use std::io::{IsTerminal, Read};
use std::process::ExitCode;
use std::sync::Arc;
use supervise::Supervisor;
use title::Title;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

const DEFAULT_PIDFILE: &str = "/var/run/redis.pid";

fn main() -> ExitCode {
    match args::parse(std::env::args_os().skip(1).collect()) {
        Wish::Version => print!("{}", args::version()),
        Wish::Help => print!("{}", args::USAGE),
        Wish::Serve(line) => return ExitCode::from(serve(&line)),
    }
    ExitCode::SUCCESS
}

/// Starts, serves, and returns the exit code.
fn serve(line: &CommandLine) -> u8 {
    let pages = Pages::small();
    let early = Logger::new("", LogLevel::Notice);
    let mut config = match args::load(line, &early) {
        Ok(config) => config,
        Err(LoadError::Line(error)) => {
            eprint!("{error}");
            return 1;
        }
        Err(LoadError::Unreadable(text)) => {
            early.warning(&text);
            return 1;
        }
    };
    let program = std::env::args().next().unwrap_or_default();
    let supervisor = Supervisor::find(&mut config, &early);
    if config.daemonize
        && config.supervised == Supervised::No
        && let Err(error) = sys::daemonize()
    {
        early.warning(&format!("Can't run in the background: {}", words(&error)));
        return 1;
    }
    let log = Logger::new(&config.logfile, poll::log_level(config.loglevel)).with_syslog(&config);
    let log = Arc::new(log);
    greet(line, &program, &log);
    let outer = Outer {
        supervisor,
        title: Title::take_over(program),
        pages,
    };
    crash::install(&config, &log);
    let code = start(&mut config, outer, &log).unwrap_or_else(|text| {
        log.warning(&text);
        1
    });
    u8::try_from(code).unwrap_or(1)
}

/// All that may fail before and while serving; an error is the log's last line.
fn start(config: &mut Config, outer: Outer, log: &Arc<Logger>) -> Result<i32, String> {
    log.set_role(if config.replicaof.0.is_some() {
        'S'
    } else {
        'M'
    });
    let tls = if tls::wanted(config) {
        let failed = "Failed to configure TLS. Check logs for more info.";
        Some(tls::Tls::load(config, log).ok_or(failed)?)
    } else {
        None
    };
    for (name, why) in config.idle() {
        log.notice(&format!("Directive {name} has no effect: {why}."));
    }
    config.maxclients = limits::adjust_open_files(config.maxclients, log);
    let opened = listen::open_all(config, log).map_err(|failed| failed.0)?;
    let pidfile = write_pidfile(config);
    show_mode(config, log);
    limits::check_backlog(config.tcp_backlog, log);
    log.warning("Server initialized");

    let unixsocket = config.unixsocket.clone();
    let seed = seed().map_err(|error| format!("Can't read /dev/urandom: {}", words(&error)))?;
    let server = poll::Server::new(config.clone(), seed, opened, tls, outer, Arc::clone(log))
        .map_err(|error| {
            format!(
                "Failed creating the event loop. Error message: '{}'",
                words(&error)
            )
        })?;
    // After the other threads were started, which have a list of their own.
    cpus::bind(&config.server_cpulist);
    let code = server.run()?;

    // What is left behind harms nobody: the next start overwrites it.
    if let Some(pidfile) = pidfile {
        log.notice("Removing the pid file.");
        let _ = fs::remove_file(pidfile);
    }
    if !unixsocket.is_empty() {
        let _ = fs::remove_file(unixsocket);
    }
    Ok(code)
}

fn greet(line: &CommandLine, program: &str, log: &Logger) {
    log.warning("oO0OoO0OoO0Oo Reprise is starting oO0OoO0OoO0Oo");
    log.warning(&format!(
        "Reprise version={} (Redis version=7.0.15 compatible), bits={}, commit=00000000, modified=0, pid={}, just started",
        env!("CARGO_PKG_VERSION"),
        usize::BITS,
        std::process::id()
    ));
    if *line == CommandLine::default() {
        log.warning(&format!(
            "Warning: no config file specified, using the default config. In order to specify a config file use \
             {program} /path/to/redis.conf"
        ));
    } else {
        log.warning("Configuration loaded");
    }
}

/// A logo for people at a terminal (and for the conformance suite, which asks for it and waits for the
/// process id); one line for others.
fn show_mode(config: &Config, log: &Logger) {
    let mode = if config.cluster_enabled {
        "cluster"
    } else {
        "standalone"
    };
    let port = if config.port == 0 {
        config.tls_port
    } else {
        config.port
    };
    let for_people =
        !config.syslog_enabled && config.logfile.is_empty() && std::io::stdout().is_terminal();
    if !for_people && !config.always_show_logo {
        log.notice(&format!("Running mode={mode}, port={port}."));
        return;
    }
    let version = env!("CARGO_PKG_VERSION");
    let pid = std::process::id();
    log.raw(&format!(
        r"
     ||      /|     Reprise {version} (Redis 7.0.15 compatible)
     ||  o  / |
     ||    /  |     Running in {mode} mode
     ||  o \  |     Port: {port}
     ||     \ |     PID: {pid}
     ||      \|

"
    ));
}

fn write_pidfile(config: &Config) -> Option<String> {
    let path = match (config.pidfile.as_str(), config.daemonize) {
        ("", false) => return None,
        ("", true) => DEFAULT_PIDFILE,
        (path, _) => path,
    };
    // As far as possible: a server that cannot say who it is still serves.
    let _ = fs::write(path, format!("{}\n", std::process::id()));
    Some(path.to_string())
}

fn seed() -> std::io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}
