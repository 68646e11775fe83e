//! The process's title, as `ps` shows it: `proc-title-template` with its variables filled in.
//!
//! The system shows the memory in which the arguments came. So the title is written over them, and over
//! the environment behind them, which moves elsewhere before. Source: proc(5), "cmdline".
#![allow(unsafe_code)]

use reprise_engine::config::Config;
use std::ffi::{CStr, c_char, c_int};
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

static ARGC: AtomicI32 = AtomicI32::new(0);
static ARGV: AtomicPtr<*mut c_char> = AtomicPtr::new(std::ptr::null_mut());

/// The C library calls it before `main`, with the arguments where they are.
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE_ARGUMENTS: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = note_arguments;

extern "C" fn note_arguments(argc: c_int, argv: *mut *mut c_char, _: *mut *mut c_char) {
    ARGC.store(argc, Ordering::Relaxed);
    ARGV.store(argv, Ordering::Relaxed);
}

/// Memory that the title may fill.
pub struct Title {
    start: usize,
    len: usize,
    /// What the program was called.
    program: String,
}

impl Title {
    /// Makes room. Afterwards `std::env::args` is worth nothing. To be called before any thread is started.
    pub fn take_over(program: String) -> Title {
        let (argc, argv) = (ARGC.load(Ordering::Relaxed), ARGV.load(Ordering::Relaxed));
        let none = Title {
            start: 0,
            len: 0,
            program: program.clone(),
        };
        if argc < 1 || argv.is_null() {
            return none;
        }
        // SAFETY: the C library gave us `argc` strings and, after a null, those of the environment; nobody has
        // changed them so far.
        let (start, end) = unsafe {
            let start = *argv as usize;
            let mut end = start;
            // Only as far as the strings lie one behind the other.
            let mut follow = |string: *mut c_char| {
                let here = string as usize;
                if here == end {
                    end = here + CStr::from_ptr(string).to_bytes_with_nul().len();
                }
            };
            for n in 0..argc as usize {
                follow(*argv.add(n));
            }
            let mut n = argc as usize + 1;
            while !(*argv.add(n)).is_null() {
                follow(*argv.add(n));
                n += 1;
            }
            (start, end)
        };
        for (name, value) in std::env::vars_os() {
            // SAFETY: there is one thread so far. The C library copies both.
            unsafe { std::env::set_var(name, value) };
        }
        Title {
            start,
            len: end - start,
            program,
        }
    }

    /// Shows the title that the configuration asks for, if any.
    pub fn show(&self, config: &Config) {
        if !config.set_proc_title || self.len < 2 {
            return;
        }
        let title = text(config, &self.program);
        let shown = &title.as_bytes()[..title.len().min(self.len - 1)];
        // SAFETY: the memory is ours and writable, of this length, and nobody else reads it as Rust data.
        unsafe {
            let at = self.start as *mut u8;
            at.write_bytes(0, self.len);
            std::ptr::copy_nonoverlapping(shown.as_ptr(), at, shown.len());
        }
    }
}

/// The template with its variables filled in; `{{` is a brace.
fn text(config: &Config, program: &str) -> String {
    let mut out = String::new();
    let mut rest = config.proc_title_template.as_str();
    while let Some(open) = rest.find('{') {
        out += &rest[..open];
        rest = &rest[open + 1..];
        if let Some(tail) = rest.strip_prefix('{') {
            out.push('{');
            rest = tail;
            continue;
        }
        let Some((name, tail)) = rest.split_once('}') else {
            break;
        };
        out += &variable(config, program, &name.to_ascii_lowercase());
        rest = tail;
    }
    out += rest;
    out.trim_matches(' ').to_string()
}

fn variable(config: &Config, program: &str, name: &str) -> String {
    let port = if config.port != 0 {
        config.port
    } else {
        config.tls_port
    };
    match name {
        "title" => program.to_string(),
        "listen-addr" if port != 0 => {
            let host = config.bind.0.first().map_or("*", String::as_str);
            format!("{host}:{port}")
        }
        "listen-addr" | "unixsocket" => config.unixsocket.clone(),
        "server-mode" if config.cluster_enabled => "[cluster]".into(),
        "port" => config.port.to_string(),
        "tls-port" => config.tls_port.to_string(),
        "config-file" => config.config_file.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let mut config = Config::default();
        assert_eq!(text(&config, "prog"), "prog *:6379");
        config.cluster_enabled = true;
        config.tls_port = 7000;
        config.proc_title_template = "{{{TITLE} {port}/{tls-port} {server-mode} x ".into();
        assert_eq!(text(&config, "prog"), "{prog 6379/7000 [cluster] x");
    }
}
