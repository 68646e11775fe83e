//! The few system calls for which the standard library has no safe name.
//!
//! The only unsafe code of the runtime. Each block passes pointers to local values that outlive the call.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;

fn clock(id: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place to write to. Failing is impossible for the ids below.
    unsafe { libc::clock_gettime(id, &mut time) };
    time
}

/// CPU time of this thread in microseconds. A system call: not for every command.
pub fn thread_cpu_us() -> u64 {
    let time = clock(libc::CLOCK_THREAD_CPUTIME_ID);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// A clock that moves every few milliseconds and costs next to nothing to read.
#[cfg(target_os = "linux")]
pub fn coarse_ns() -> u64 {
    let time = clock(libc::CLOCK_MONOTONIC_COARSE);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A clock that moves every few milliseconds and costs next to nothing to read.
#[cfg(not(target_os = "linux"))]
pub fn coarse_ns() -> u64 {
    let time = clock(libc::CLOCK_MONOTONIC);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The system's monotonic clock, in microseconds: what other processes see, too.
pub fn monotonic_us() -> u64 {
    let time = clock(libc::CLOCK_MONOTONIC);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// Seconds of CPU time of the process, in user mode and in the kernel.
pub fn process_cpu() -> (f64, f64) {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: zero is a valid rusage, and the call only writes to it.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime), seconds(usage.ru_stime))
}

/// Lets page faults of this process be served by huge pages, or no longer. Those that it has stay.
#[cfg(target_os = "linux")]
pub fn allow_huge_pages(allowed: bool) {
    // SAFETY: no pointers are passed. A kernel without huge pages refuses, and there are none then.
    unsafe {
        libc::prctl(
            libc::PR_SET_THP_DISABLE,
            libc::c_ulong::from(!allowed),
            0,
            0,
            0,
        )
    };
}

/// Lets page faults of this process be served by huge pages, or no longer.
#[cfg(not(target_os = "linux"))]
pub fn allow_huge_pages(_allowed: bool) {}

/// Puts the small pages in `range`, an address of this process and those after it, together into huge ones, as far as
/// there is anything in them. What they hold stays what it is.
#[cfg(target_os = "linux")]
pub fn collapse(range: std::ops::Range<usize>) {
    const HUGE: usize = 2 * 1024 * 1024;
    let mut start = range.start.next_multiple_of(HUGE);
    while start + HUGE <= range.end {
        // SAFETY: this changes how memory is mapped, not what is in it; the kernel looks whether it is there.
        unsafe {
            libc::madvise(
                std::ptr::without_provenance_mut(start),
                HUGE,
                libc::MADV_COLLAPSE,
            )
        };
        start += HUGE;
    }
}

/// Lets this thread run only when no other wants to.
pub fn yield_to_others() {
    // SAFETY: a plain call. (0: the thread itself, on Linux.) Where it is refused, nothing is lost.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
}

/// A moment in the local time zone, for log lines.
pub struct LocalTime {
    /// 1 to 31.
    pub day: i32,
    /// 0 for January.
    pub month: usize,
    /// As people count.
    pub year: i32,
    /// 0 to 23.
    pub hour: i32,
    /// 0 to 59.
    pub minute: i32,
    /// 0 to 60.
    pub second: i32,
}

/// Local time of a Unix time in seconds.
pub fn local_time(unix: i64) -> LocalTime {
    let time: libc::time_t = unix as libc::time_t;
    let mut parts = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: zero is a valid tm (its zone pointer is never read here); both pointers are valid.
    let parts = unsafe {
        libc::localtime_r(&time, parts.as_mut_ptr());
        parts.assume_init()
    };
    LocalTime {
        day: parts.tm_mday,
        month: parts.tm_mon as usize,
        year: parts.tm_year + 1900,
        hour: parts.tm_hour,
        minute: parts.tm_min,
        second: parts.tm_sec,
    }
}

/// How many files the process may have open: the soft limit, and the hard one, up to which anybody may raise it.
pub fn open_files_limit() -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid place to write to.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } {
        0 => Ok((limit.rlim_cur, limit.rlim_max)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets how many files the process may have open, both the soft and the hard limit.
pub fn set_open_files_limit(files: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: files,
        rlim_max: files,
    };
    // SAFETY: `limit` is a valid value.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Goes on in a child of its own session, without a terminal. The parent exits.
/// Must be called before any thread is started.
pub fn daemonize() -> io::Result<()> {
    // SAFETY: the process has one thread, so the child's copy of memory is consistent.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        _ => std::process::exit(0),
    }
    // SAFETY: no pointers are passed but a string constant; a failing dup2 leaves the old descriptor.
    unsafe {
        libc::setsid();
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        if null >= 0 {
            for standard in 0..3 {
                libc::dup2(null, standard);
            }
            if null > 2 {
                libc::close(null);
            }
        }
    }
    Ok(())
}

/// Bytes in a page of memory.
pub fn page_bytes() -> u64 {
    // SAFETY: no pointers are passed.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Opens the system log. `ident` must live as long as the process: the system keeps the pointer.
pub fn open_syslog(ident: &'static std::ffi::CStr, facility: i32) {
    let options = libc::LOG_PID | libc::LOG_NDELAY | libc::LOG_NOWAIT;
    // SAFETY: `ident` lives for ever.
    unsafe { libc::openlog(ident.as_ptr(), options, facility) };
}

/// Writes a line to the system log.
pub fn syslog(priority: i32, text: &std::ffi::CStr) {
    // SAFETY: the format takes one string, which is one.
    unsafe { libc::syslog(priority, c"%s".as_ptr(), text.as_ptr()) };
}

/// Binds this thread, and those that it will start, to CPUs.
pub fn bind_to_cpus(cpus: &[usize]) -> io::Result<()> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: zero is a valid, empty set, and the numbers are within its bounds.
    let done = unsafe {
        for &cpu in cpus.iter().filter(|&&cpu| cpu < libc::CPU_SETSIZE as usize) {
            libc::CPU_SET(cpu, set.assume_init_mut());
        }
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set.as_ptr())
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
