//! Servers as child processes: started in a directory of their own, killed when dropped.

use crate::conn::Conn;
use crate::resp::Value;
use crate::wait::{SOON, eventually};
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Settings for a server that is to be started.
pub struct Launch {
    binary: PathBuf,
    settings: Vec<(String, String)>,
    environment: Vec<(String, OsString)>,
}

/// The server under test, with settings that suit tests; see [`Launch::start`].
pub fn subject() -> Launch {
    Launch::of(subject_path())
}

/// A real Redis, if there is one on this machine.
///
/// # Panics
/// In CI (`CI` is set) when there is none.
pub fn oracle() -> Option<Launch> {
    oracle_path().map(Launch::of)
}

/// Whether the server under test is itself the oracle (a test of the tests).
pub fn subject_is_oracle() -> bool {
    subject_path()
        .file_name()
        .is_some_and(|name| name == "redis-server")
}

/// A running server, or one that was killed and can be started again on the same port and directory.
pub struct Server {
    binary: PathBuf,
    port: u16,
    dir: TempDir,
    environment: Vec<(String, OsString)>,
    child: Option<Child>,
}

impl Launch {
    /// A server of any binary.
    pub fn of(binary: impl Into<PathBuf>) -> Launch {
        let settings = [
            ("bind", "127.0.0.1"),
            ("logfile", "server.log"),
            ("loglevel", "verbose"),
            ("save", "\"\""),
            ("appendonly", "no"),
            ("enable-debug-command", "yes"),
            ("repl-diskless-sync-delay", "0"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Launch {
            binary: binary.into(),
            settings: settings.to_vec(),
            environment: Vec::new(),
        }
    }

    /// Adds a directive to the configuration file; a later one prevails.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Launch {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Launch {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// The directives as lines of a configuration file.
    pub fn directives(&self) -> String {
        let lines = self.settings.iter();
        lines
            .map(|(name, value)| format!("{name} {value}\n"))
            .collect()
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    /// When it does not, with its log.
    #[track_caller]
    pub fn start(self) -> Server {
        self.start_with(|_| {})
    }

    /// [`Launch::start`] with something done to the directory before, such as putting data there.
    #[track_caller]
    pub fn start_with(self, prepare: impl Fn(&Path)) -> Server {
        for _ in 0..10 {
            let dir = tempfile::Builder::new()
                .prefix("reprise-test-")
                .tempdir()
                .expect("a directory for the server");
            prepare(dir.path());
            let mut server = Server {
                binary: self.binary.clone(),
                port: free_port(),
                dir,
                environment: self.environment.clone(),
                child: None,
            };
            let mut conf = format!("port {}\ndir {}\n", server.port, server.dir().display());
            conf += &self.directives();
            fs::write(server.path("server.conf"), conf).expect("the configuration file");
            match server.launch() {
                Ok(()) => return server,
                // Somebody else took the port between our look and the server's: take another.
                Err(why) if why.contains("Address already in use") => {}
                Err(why) => panic!("{why}"),
            }
        }
        panic!("no free port in ten attempts");
    }
}

impl Server {
    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory that it works in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// A new connection.
    #[track_caller]
    pub fn conn(&self) -> Conn {
        match Conn::open(self.port) {
            Ok(conn) => conn,
            Err(error) => panic!(
                "cannot connect to port {}: {error}\n{}",
                self.port,
                self.log()
            ),
        }
    }

    /// Runs one command given as words in a line, on a connection of its own.
    #[track_caller]
    pub fn run(&self, line: &str) -> Value {
        self.conn().run(line)
    }

    /// Runs one command that must not fail.
    #[track_caller]
    pub fn ok(&self, line: &str) -> Value {
        self.conn().ok(line)
    }

    /// All that it has logged, in all its lives.
    pub fn log(&self) -> String {
        let mut text = fs::read_to_string(self.path("server.log")).unwrap_or_default();
        text += &fs::read_to_string(self.path("stdout")).unwrap_or_default();
        text
    }

    /// Kills it, as a crash of the process would (what it wrote stays in the system's page cache).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal by its name (`TERM`, `STOP`, `CONT`).
    pub fn signal(&self, name: &str) {
        if let Some(pid) = self.pid() {
            let done = Command::new("kill")
                .arg(format!("-{name}"))
                .arg(pid.to_string())
                .status();
            assert!(done.expect("kill").success(), "kill -{name} {pid}");
        }
    }

    /// Asks it to end by SIGTERM and waits until it has.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_exit()
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running server");
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(SOON, "the server ends", || {
                child.try_wait().expect("the child's state")
            })
        }));
        ended.unwrap_or_else(|_| {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the server did not end\n{}", self.log())
        })
    }

    /// Starts it again after [`Server::kill`] or [`Server::terminate`], and waits until it answers.
    #[track_caller]
    pub fn restart(&mut self) {
        if let Err(why) = self.launch() {
            panic!("{why}");
        }
    }

    /// Starts it again and expects that it refuses; its log is the answer.
    #[track_caller]
    pub fn restart_fails(&mut self) -> String {
        self.launch().expect_err("the server started")
    }

    fn launch(&mut self) -> Result<(), String> {
        assert!(self.child.is_none(), "the server runs already");
        let output = File::options()
            .create(true)
            .append(true)
            .open(self.path("stdout"))
            .expect("a file for its output");
        let errors = output.try_clone().expect("a second handle");
        let child = Command::new(&self.binary)
            .arg(self.path("server.conf"))
            .current_dir(self.dir())
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", self.binary.display()))?;
        let child = self.child.insert(child);
        let port = self.port;
        let ready = eventually(SOON * 3, "the server answers or ends", || {
            if let Some(status) = child.try_wait().expect("the child's state") {
                return Some(Err(status));
            }
            let mut conn = Conn::open(port).ok()?;
            conn.send(&["PING"]);
            match conn.try_reply(Duration::from_secs(1)).ok()?? {
                Value::Closed => None,
                Value::Error(text) if text.starts_with(b"LOADING") => None,
                _ => Some(Ok(())),
            }
        });
        ready.map_err(|status| {
            self.child = None;
            format!("the server ended: {status}\n{}", self.log())
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(25)..];
            eprintln!(
                "--- {} on port {}, last of its log\n{}",
                self.binary.display(),
                self.port,
                tail.join("\n")
            );
        }
    }
}

/// A port that nobody listens on, with one 10,000 above it for the cluster bus.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 20_000;
    const SPAN: u32 = 12_000; // stays below 32768, where the ports of outgoing connections begin
    loop {
        // Other test processes count as we do: begin elsewhere.
        let n = NEXT
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(process::id().wrapping_mul(97));
        let port = (FIRST + n % SPAN) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok()
            && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok()
        {
            return port;
        }
    }
}

fn subject_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match env::var_os("REPRISE_SERVER") {
        Some(path) => PathBuf::from(path),
        None => build("reprise-io-mio", "reprise-server"),
    })
}

/// One of our command-line tools, built like the server.
pub fn tool(name: &str) -> PathBuf {
    build("reprise-cli", name)
}

/// The Python to run programs of clients with (`.ci/run` makes a virtual environment and names it).
pub fn python() -> String {
    env::var("REPRISE_PYTHON").unwrap_or_else(|_| "python3".into())
}

/// The same, if redis-py is installed; else it says so.
pub fn python_with_redis() -> Option<String> {
    let python = python();
    let installed = Command::new(&python)
        .args(["-c", "import redis"])
        .stderr(Stdio::null())
        .status();
    if installed.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    eprintln!("skipped: {python} has no redis module");
    None
}

/// Builds a program as these tests were built: cargo does not do so for another package's tests.
fn build(package: &str, name: &str) -> PathBuf {
    let this = env::current_exe().expect("the path of this test");
    // target/PROFILE/deps/TEST, or target/PROFILE/compare
    let beside = this.parent().expect("a directory");
    let profile_dir = if beside.ends_with("deps") {
        beside.parent().expect("target/PROFILE")
    } else {
        beside
    };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", package, "--bin", name]);
    cargo
        .arg("--target-dir")
        .arg(profile_dir.parent().expect("target"));
    if profile_dir.ends_with("release") {
        cargo.arg("--release");
    }
    let done = cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo");
    assert!(done.success(), "{name} does not build");
    profile_dir.join(name)
}

fn oracle_path() -> Option<&'static Path> {
    static PATH: OnceLock<Option<PathBuf>> = OnceLock::new();
    let path = PATH.get_or_init(|| {
        let path = env::var_os("REDIS_SERVER").map_or("redis-server".into(), PathBuf::from);
        let runs = Command::new(&path)
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        runs.is_ok_and(|status| status.success()).then_some(path)
    });
    if path.is_none() {
        assert!(
            env::var_os("CI").is_none(),
            "no redis-server: CI installs one"
        );
        eprintln!("skipped: no redis-server on this machine");
    }
    path.as_deref()
}
