//! When the process breaks: a report in the log, in Redis's frame, then the end.
//!
//! ```text
//! === REDIS BUG REPORT START: Cut & paste starting from here ===
//! what happened: a panic's words, or the signal, its code and address
//! ------ STACK TRACE ------          addresses first, by means that work anywhere; then with names
//! ------ INFO OUTPUT ------          and the clients, and the last command: read from the engine as it is
//! === REDIS BUG REPORT END. …
//! ```
//!
//! The report is written by the thread that broke, on a stack of its own. It may break again: then the
//! second signal ends the process; or hang: then an alarm does. Nothing is lost by either. The engine is
//! read only if its own thread broke, so nobody changes it meanwhile.
//!
//! SIGALRM logs the stack and the server goes on: sent by somebody, or by the timer that
//! `watchdog-period` sets for each turn of the poll loop.
#![allow(unsafe_code)]

use crate::log::Logger;
use reprise_engine::config::Config;
use reprise_engine::{Crash, Engine};
use std::backtrace::Backtrace;
use std::ffi::{CString, c_int, c_void};
use std::fmt::Write;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// What end a process; each is reported first.
const FATAL: [c_int; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGABRT,
];
/// The stack on which a report is written.
const STACK: usize = 512 * 1024;
/// How long a report may take, in seconds.
const PATIENCE_S: u32 = 20;
/// Frames of a stack that are shown.
#[cfg(target_env = "gnu")]
const FRAMES: usize = 100;

static LOG: OnceLock<Arc<Logger>> = OnceLock::new();
/// The log's path, for the system; empty for standard output.
static PATH: OnceLock<CString> = OnceLock::new();
static ENGINE: AtomicPtr<Engine> = AtomicPtr::new(ptr::null_mut());
/// The thread that the engine is on, as the system numbers it.
static ENGINE_THREAD: AtomicU64 = AtomicU64::new(0);
static REPORTING: AtomicBool = AtomicBool::new(false);
static EXIT_ON_PANIC: AtomicBool = AtomicBool::new(false);

/// Reports panics, and signals if the configuration asks for it. To be called once, on the engine's thread.
pub fn install(config: &Config, log: &Arc<Logger>) {
    let _ = LOG.set(Arc::clone(log));
    let _ = PATH.set(CString::new(config.logfile.as_str()).unwrap_or_default());
    ENGINE_THREAD.store(this_thread(), Ordering::Relaxed);
    load_tracer();
    use_own_stack();
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("?");
        end_in_panic(&format!(
            "Reprise {} broke in its thread '{thread}'\n{panic}",
            env!("CARGO_PKG_VERSION")
        ));
    }));
    handle(libc::SIGALRM, alarmed, libc::SA_RESTART);
    configure(config);
}

/// Takes over `crash-log-enabled`, `use-exit-on-panic` and `watchdog-period`.
pub fn configure(config: &Config) {
    EXIT_ON_PANIC.store(config.use_exit_on_panic, Ordering::Relaxed);
    for signal in FATAL {
        if config.crash_log_enabled {
            handle(signal, broken, libc::SA_RESETHAND | libc::SA_NODEFER);
        } else {
            // SAFETY: the default needs nothing.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

/// Where the engine is, until [`forget_engine`]: it must not move meanwhile.
pub fn remember_engine(engine: &Engine) {
    ENGINE.store(ptr::from_ref(engine).cast_mut(), Ordering::Relaxed);
}

/// The engine is about to go.
pub fn forget_engine() {
    ENGINE.store(ptr::null_mut(), Ordering::Relaxed);
}

/// Logs a line when a signal comes and the flag is set.
pub fn say_on(signal: c_int, flag: Arc<AtomicBool>, text: &'static str) -> io::Result<()> {
    let say = move || {
        if flag.load(Ordering::Relaxed) {
            write_raw(text.as_bytes());
            write_raw(b"\n");
        }
    };
    // SAFETY: it reads a flag and makes system calls, no more.
    unsafe { signal_hook::low_level::register(signal, say) }.map(drop)
}

/// Has SIGALRM come in so many milliseconds; 0 calls it off.
pub fn set_timer(period_ms: u32) {
    let timer = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: libc::timeval {
            tv_sec: libc::time_t::from(period_ms as i32 / 1000),
            tv_usec: libc::suseconds_t::from(period_ms as i32 % 1000 * 1000),
        },
    };
    // SAFETY: `timer` is a valid value.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, ptr::null_mut()) };
}

/// Breaks in the way that DEBUG asks for.
pub fn break_down(how: Crash) {
    match how {
        Crash::Assert => end_in_panic("=== ASSERTION FAILED ===\n==> '1 == 2' is not true"),
        Crash::Panic => end_in_panic(
            "------------------------------------------------\n\
             !!! Software Failure. Press left mouse button to continue\n\
             Guru Meditation: called by Unit Test\n\
             ------------------------------------------------",
        ),
        // SAFETY: there is none. That is what was asked for.
        Crash::Segfault => unsafe { (16 as *mut u8).write_volatile(b'x') },
    }
}

fn end_in_panic(words: &str) {
    if !REPORTING.swap(true, Ordering::Relaxed) {
        report(words, "");
    }
    if EXIT_ON_PANIC.load(Ordering::Relaxed) {
        std::process::exit(1);
    }
    std::process::abort();
}

/// Writes the whole report.
fn report(words: &str, details: &str) {
    let Some(log) = LOG.get() else {
        return;
    };
    log.raw("\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n");
    for line in words.lines() {
        log.warning(line);
    }
    log.raw(details);
    log.raw("\n------ STACK TRACE ------\nBacktrace:\n");
    trace();
    log.raw(&format!("\n{}\n", Backtrace::force_capture()));
    let engine = ENGINE.load(Ordering::Relaxed);
    if !engine.is_null() && this_thread() == ENGINE_THREAD.load(Ordering::Relaxed) {
        // SAFETY: the engine is where it was, and its thread is here: nobody changes it. It may be in the middle
        // of a change; then what is read may be wrong, or this breaks again, and the process ends, as it will.
        log.raw(&unsafe { &*engine }.crash_report());
    }
    log.raw(&format!(
        "\n------ VERSION ------\nReprise {} (Redis 7.0.15 compatible), {} bits, pid {}\n\
         \n=== REDIS BUG REPORT END. Make sure to include from START to END. ===\n\n\
         \x20      Please report the crash with the log above, and say which client libraries and commands were in use.\n\n",
        env!("CARGO_PKG_VERSION"),
        usize::BITS,
        std::process::id()
    ));
}

/// A signal that ends the process.
extern "C" fn broken(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    if !REPORTING.swap(true, Ordering::Relaxed) {
        // SAFETY: the default ends the process; the call only sets a timer.
        unsafe {
            libc::signal(libc::SIGALRM, libc::SIG_DFL);
            libc::alarm(PATIENCE_S);
        }
        // SAFETY: the system gave us it, valid until we return.
        let (code, address, pid, uid) = unsafe {
            let info = &*info;
            (
                info.si_code,
                info.si_addr() as usize,
                info.si_pid(),
                info.si_uid(),
            )
        };
        let mut details = String::new();
        if code == libc::SI_USER || code == libc::SI_TKILL {
            let _ = writeln!(details, "Killed by PID: {pid}, UID: {uid}");
        } else {
            let _ = writeln!(details, "Accessing address: {address:#x}");
        }
        let words = format!(
            "Reprise {} crashed by signal: {signal}, si_code: {code}",
            env!("CARGO_PKG_VERSION")
        );
        report(&words, &details);
    }
    // SAFETY: the default is in force again, and ends the process as the signal should.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// SIGALRM: the stack of the engine's thread, for the log. By system calls only.
extern "C" fn alarmed(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    if this_thread() != ENGINE_THREAD.load(Ordering::Relaxed) {
        let thread = ENGINE_THREAD.load(Ordering::Relaxed);
        // SAFETY: no pointers are passed. The engine's thread lives as long as the process.
        unsafe {
            libc::syscall(
                libc::SYS_tgkill,
                libc::getpid(),
                thread as libc::pid_t,
                signal,
            )
        };
        return;
    }
    // SAFETY: the system gave us it, valid until we return.
    let by_timer = unsafe { (*info).si_code == libc::SI_KERNEL || (*info).si_pid() == 0 };
    write_raw(if by_timer {
        b"\n--- WATCHDOG TIMER EXPIRED ---\n"
    } else {
        b"\nReceived SIGALRM\n"
    });
    let engine = ENGINE.load(Ordering::Relaxed);
    if !engine.is_null() {
        // SAFETY: the engine is where it was, and this is its thread. Two words are read that a command's start
        // writes at once.
        if let Some(command) = unsafe { &*engine }.current_command() {
            write_raw(b"Last command: ");
            write_raw(command.as_bytes());
            write_raw(b"\n");
        }
    }
    write_raw(b"Backtrace:\n");
    trace();
    write_raw(b"--------\n");
}

/// The first trace loads a library: not in a signal's handler.
#[cfg(target_env = "gnu")]
fn load_tracer() {
    let mut frames = [ptr::null_mut(); 1];
    // SAFETY: there is room for one frame.
    unsafe { libc::backtrace(frames.as_mut_ptr(), 1) };
}

/// Other C libraries have no such means.
#[cfg(not(target_env = "gnu"))]
fn load_tracer() {}

/// Other C libraries have no such means.
#[cfg(not(target_env = "gnu"))]
fn trace() {}

/// The addresses of the stack, with symbols as far as the system finds them without memory of its own.
#[cfg(target_env = "gnu")]
fn trace() {
    let mut frames = [ptr::null_mut(); FRAMES];
    let fd = log_fd();
    // SAFETY: there is room for so many frames, and as many are read as were written.
    unsafe {
        let n = libc::backtrace(frames.as_mut_ptr(), FRAMES as c_int);
        libc::backtrace_symbols_fd(frames.as_ptr(), n, fd);
    }
    close(fd);
}

fn write_raw(bytes: &[u8]) {
    let fd = log_fd();
    // SAFETY: the bytes are valid for their length. What cannot be written is lost.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    close(fd);
}

fn log_fd() -> c_int {
    match PATH.get().filter(|path| !path.is_empty()) {
        None => libc::STDOUT_FILENO,
        // SAFETY: the path ends in a null byte.
        Some(path) => unsafe {
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
            libc::open(path.as_ptr(), flags, 0o644 as libc::mode_t)
        },
    }
}

fn close(fd: c_int) {
    if fd > libc::STDERR_FILENO {
        // SAFETY: it was opened for this, and nobody else has it.
        unsafe { libc::close(fd) };
    }
}

fn this_thread() -> u64 {
    // SAFETY: no pointers are passed.
    u64::try_from(unsafe { libc::syscall(libc::SYS_gettid) }).unwrap_or(0)
}

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

fn handle(signal: c_int, handler: Handler, flags: c_int) {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zero is a valid sigaction (an empty mask); the handler has the form that SA_SIGINFO asks for.
    unsafe {
        let action = action.assume_init_mut();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = flags | libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(signal, action, ptr::null_mut());
    }
}

/// Signals of this thread run on a stack with room for a report, also when its own is used up.
fn use_own_stack() {
    let stack = Box::leak(vec![0u8; STACK].into_boxed_slice());
    let given = libc::stack_t {
        ss_sp: stack.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: STACK,
    };
    // SAFETY: the memory is never freed nor used otherwise.
    unsafe { libc::sigaltstack(&given, ptr::null_mut()) };
}
