//! Log lines in Redis's form: `PID:ROLE DD Mon YYYY HH:MM:SS.mmm LEVEL text`.
//!
//! Every line is written at once, by one write, and a log file is opened for each line: so it may be
//! moved away or cut by others at any time.

use crate::sys;
use reprise_engine::LogLevel;
use reprise_engine::config::{Config, SyslogFacility};
use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Where log lines go. Shared by all threads.
pub struct Logger {
    /// An empty path is standard output.
    path: String,
    /// Lines go to the system log too.
    syslog: bool,
    level: AtomicU8,
    role: AtomicU8,
}

impl Logger {
    /// Logs to a file, or to standard output if `path` is empty. Until a role is set, lines bear the
    /// mark `C`, as Redis's do before it knows its role.
    pub fn new(path: &str, level: LogLevel) -> Logger {
        Logger {
            path: path.to_string(),
            syslog: false,
            level: AtomicU8::new(level as u8),
            role: AtomicU8::new(b'C'),
        }
    }

    /// Logs to the system log too, if the configuration asks for it.
    #[must_use]
    pub fn with_syslog(mut self, config: &Config) -> Logger {
        if config.syslog_enabled {
            let ident = CString::new(config.syslog_ident.as_str()).unwrap_or_default();
            sys::open_syslog(
                Box::leak(ident.into_boxed_c_str()),
                facility(config.syslog_facility),
            );
            self.syslog = true;
        }
        self
    }

    /// Lines below this level are dropped from now on.
    pub fn set_level(&self, level: LogLevel) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    /// The mark of the lines from now on.
    pub fn set_role(&self, role: char) {
        self.role
            .store(u8::try_from(role).unwrap_or(b'?'), Ordering::Relaxed);
    }

    /// Writes one line.
    pub fn line(&self, level: LogLevel, text: &str) {
        if (level as u8) < self.level.load(Ordering::Relaxed) {
            return;
        }
        let (mark, priority) = match level {
            LogLevel::Debug => ('.', libc::LOG_DEBUG),
            LogLevel::Verbose => ('-', libc::LOG_INFO),
            LogLevel::Notice => ('*', libc::LOG_NOTICE),
            LogLevel::Warning => ('#', libc::LOG_WARNING),
        };
        if self.syslog {
            let text = text.replace('\0', " ");
            sys::syslog(priority, &CString::new(text).unwrap_or_default());
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let t = sys::local_time(now.as_secs() as i64);
        self.raw(&format!(
            "{}:{} {:02} {} {} {:02}:{:02}:{:02}.{:03} {mark} {text}\n",
            std::process::id(),
            char::from(self.role.load(Ordering::Relaxed)),
            t.day,
            MONTHS.get(t.month).unwrap_or(&"???"),
            t.year,
            t.hour,
            t.minute,
            t.second,
            now.subsec_millis(),
        ));
    }

    /// Writes text as it is. A log that cannot be written to must not stop the server.
    pub fn raw(&self, text: &str) {
        if self.path.is_empty() {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        } else if let Ok(mut file) = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
        {
            let _ = file.write_all(text.as_bytes());
        }
    }

    /// [`Logger::line`] at the level Notice.
    pub fn notice(&self, text: &str) {
        self.line(LogLevel::Notice, text);
    }

    /// [`Logger::line`] at the level Warning.
    pub fn warning(&self, text: &str) {
        self.line(LogLevel::Warning, text);
    }
}

fn facility(facility: SyslogFacility) -> i32 {
    match facility {
        SyslogFacility::User => libc::LOG_USER,
        SyslogFacility::Local0 => libc::LOG_LOCAL0,
        SyslogFacility::Local1 => libc::LOG_LOCAL1,
        SyslogFacility::Local2 => libc::LOG_LOCAL2,
        SyslogFacility::Local3 => libc::LOG_LOCAL3,
        SyslogFacility::Local4 => libc::LOG_LOCAL4,
        SyslogFacility::Local5 => libc::LOG_LOCAL5,
        SyslogFacility::Local6 => libc::LOG_LOCAL6,
        SyslogFacility::Local7 => libc::LOG_LOCAL7,
    }
}

/// The system's words for an error, without the number that Rust adds.
pub fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(at) => text[..at].to_string(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_redis_form() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Logger::new(path.to_str().unwrap(), LogLevel::Notice);
        log.line(LogLevel::Verbose, "dropped");
        log.notice("first");
        log.set_role('M');
        log.warning("second");
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        let fields: Vec<&str> = lines[0].split(' ').collect();
        assert_eq!(fields[0], format!("{}:C", std::process::id()));
        assert_eq!(fields[4].len(), "10:20:30.123".len());
        assert_eq!(fields[5..], ["*", "first"]);
        assert!(
            lines[1].starts_with(&format!("{}:M ", std::process::id()))
                && lines[1].ends_with(" # second")
        );
    }

    #[test]
    fn errors_in_the_systems_words() {
        assert_eq!(
            words(&std::io::Error::from_raw_os_error(libc::ENOSPC)),
            "No space left on device"
        );
        assert_eq!(words(&std::io::Error::other("x")), "x");
    }
}
