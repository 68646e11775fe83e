//! The command line and the configuration files that it names.

use crate::log::{Logger, words};
use reprise_engine::config::Config;
use reprise_engine::config::file::{CommandLine, FileError, Loader, Step, lines};
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What the command line asks for.
pub enum Wish {
    /// Print the version.
    Version,
    /// Print how the program is called.
    Help,
    /// Serve.
    Serve(CommandLine),
}

/// Reads the arguments, without the program's name.
pub fn parse(args: Vec<OsString>) -> Wish {
    let args: Vec<Vec<u8>> = args.into_iter().map(OsString::into_vec).collect();
    match args.first().map(Vec::as_slice) {
        Some(b"-v" | b"--version") => Wish::Version,
        Some(b"-h" | b"--help") => Wish::Help,
        _ => Wish::Serve(CommandLine::parse(
            &args.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        )),
    }
}

/// Why there is no configuration. Both end the process with code 1.
#[derive(Debug)]
pub enum LoadError {
    /// A line is wrong: to be printed to standard error.
    Line(FileError),
    /// A file cannot be read: a line for the log.
    Unreadable(String),
}

/// Files that include each other this deep do it forever.
const DEEPEST: usize = 64;

/// Name, release and machine of the operating system; empty where they are not to be found.
fn operating_system() -> String {
    let read = |name| std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    match (read("ostype"), read("osrelease")) {
        (Ok(name), Ok(release)) => {
            let machine = std::env::consts::ARCH;
            format!("{} {} {machine}", name.trim(), release.trim())
        }
        _ => String::new(),
    }
}

/// Loads files, standard input and options, in this order. `dir` lines change the process's directory
/// where they stand, and paths in later lines are seen from there, as in Redis.
pub fn load(command_line: &CommandLine, log: &Logger) -> Result<Config, LoadError> {
    let mut defaults = Config::default();
    if let Ok(dir) = std::env::current_dir() {
        defaults.dir.0 = dir.to_string_lossy().into_owned();
        if let Some(file) = &command_line.file {
            defaults.config_file = dir.join(file).to_string_lossy().into_owned();
        }
    }
    defaults.executable = std::env::current_exe()
        .map(|path| path.to_string_lossy().into_owned())
        .unwrap_or_default();
    defaults.os = operating_system();
    let mut text = Vec::new();
    if let Some(file) = &command_line.file {
        text.extend(read_matching(file)?);
    }
    if command_line.stdin {
        log.warning("Reading config from stdin");
        std::io::stdin().read_to_end(&mut text).map_err(|error| {
            LoadError::Unreadable(format!("Fatal error, can't read stdin: {}", words(&error)))
        })?;
    }
    text.push(b'\n');
    text.extend(&command_line.options);
    let mut loader = Loader::new(defaults).with_commands(reprise_engine::command::catalogue());
    load_text(&mut loader, &text, 0)?;
    let config = loader.finish().map_err(LoadError::Line)?;
    if !config.logfile.is_empty() {
        let opened = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&config.logfile);
        opened.map_err(|error| {
            let reason = format!("Can't open the log file: {}", words(&error)).into();
            LoadError::Line(FileError { line: None, reason })
        })?;
    }
    Ok(config)
}

fn load_text(loader: &mut Loader, text: &[u8], depth: usize) -> Result<(), LoadError> {
    for (number, line) in lines(text) {
        let dir = loader.config().dir.clone();
        match loader.line(number, line).map_err(LoadError::Line)? {
            Step::Next => {}
            Step::Include(pattern) if depth < DEEPEST => {
                let included = read_matching(&pattern)?;
                load_text(loader, &included, depth + 1)?;
                continue;
            }
            Step::Include(_) => {
                return Err(at_line(
                    number,
                    line,
                    "Files include each other without end".into(),
                ));
            }
        }
        if loader.config().dir != dir {
            std::env::set_current_dir(&loader.config().dir.0)
                .map_err(|error| at_line(number, line, words(&error)))?;
        }
    }
    Ok(())
}

fn at_line(number: usize, line: &[u8], reason: String) -> LoadError {
    let text = String::from_utf8_lossy(line.trim_ascii()).into_owned();
    LoadError::Line(FileError {
        line: Some((number, text)),
        reason: reason.into(),
    })
}

/// The text of a file; or of all files that a pattern names, in their order (none is no error).
fn read_matching(pattern: &str) -> Result<Vec<u8>, LoadError> {
    let paths = if is_pattern(pattern) {
        matching(pattern)
    } else {
        vec![PathBuf::from(pattern)]
    };
    let mut text = Vec::new();
    for path in paths {
        let content = fs::read(&path).map_err(|error| {
            LoadError::Unreadable(format!(
                "Fatal error, can't open config file '{}': {}",
                path.display(),
                words(&error)
            ))
        })?;
        text.extend(content);
    }
    Ok(text)
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The paths that a glob pattern names, sorted. A leading dot must be written out.
fn matching(pattern: &str) -> Vec<PathBuf> {
    let root = if pattern.starts_with('/') { "/" } else { "" };
    let mut found = vec![PathBuf::from(root)];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        found = found.iter().flat_map(|base| step(base, part)).collect();
    }
    found
}

fn step(base: &Path, part: &str) -> Vec<PathBuf> {
    if !is_pattern(part) {
        let path = base.join(part);
        return if path.exists() {
            vec![path]
        } else {
            Vec::new()
        };
    }
    let dir = if base.as_os_str().is_empty() {
        Path::new(".")
    } else {
        base
    };
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with('.') == part.starts_with('.'))
        .filter(|name| {
            reprise_engine::value::glob::glob_match(part.as_bytes(), name.as_bytes(), false)
        })
        .collect();
    names.sort();
    names.into_iter().map(|name| base.join(name)).collect()
}

/// What `--version` prints.
pub fn version() -> String {
    format!(
        "Reprise server v={} (Redis 7.0.15 compatible) malloc=mimalloc bits={}\n",
        env!("CARGO_PKG_VERSION"),
        usize::BITS
    )
}

/// What `--help` prints.
pub const USAGE: &str = "\
Usage: reprise-server [FILE | -] [--directive VALUE...]... [-]
       reprise-server -v or --version
       reprise-server -h or --help

FILE is a redis.conf; - reads one from standard input. Every directive of the file
may be given as an option: options come after the file, so they win.

Examples:
       reprise-server                        the defaults, on port 6379
       reprise-server /etc/reprise/6379.conf
       reprise-server --port 7777
       reprise-server --port 7777 --replicaof 127.0.0.1 8888
       reprise-server /etc/reprise/6379.conf --loglevel verbose
       echo 'maxmemory 128mb' | reprise-server -
";

#[cfg(test)]
mod tests {
    use super::*;
    use reprise_engine::LogLevel;

    fn quiet() -> Logger {
        Logger::new("/dev/null", LogLevel::Warning)
    }

    fn line(args: &[&str]) -> CommandLine {
        match parse(args.iter().map(OsString::from).collect()) {
            Wish::Serve(line) => line,
            _ => panic!("not a wish to serve"),
        }
    }

    #[test]
    fn wishes() {
        assert!(matches!(parse(vec!["-v".into()]), Wish::Version));
        assert!(matches!(parse(vec!["--help".into()]), Wish::Help));
        assert_eq!(
            line(&["a.conf", "--port", "1"]).file.as_deref(),
            Some("a.conf")
        );
    }

    #[test]
    fn files_options_and_what_they_include() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_string()
        };
        let here = dir.path().to_str().unwrap();
        write("1.part", "timeout 1\nhz 11\n");
        write("2.part", "timeout 2\n");
        write(".3.part", "timeout 3\n");
        let main = write(
            "main.conf",
            &format!(
                "include {here}/[0-9].part\ninclude {here}/none-*.conf\nport 7001 # clients\nsave 1 1\n"
            ),
        );
        let config = load(
            &line(&[&main, "--port", "7002", "--save", "2", "2"]),
            &quiet(),
        )
        .unwrap();
        assert_eq!((config.timeout, config.hz, config.port), (2, 11, 7002));
        assert_eq!(config.save.0.len(), 2);
        assert_eq!(config.config_file, main);
        assert!(config.dir.0.starts_with('/'));

        let missing = format!("{here}/missing.conf");
        match load(&line(&[&missing]), &quiet()) {
            Err(LoadError::Unreadable(text)) => {
                assert_eq!(
                    text,
                    format!(
                        "Fatal error, can't open config file '{missing}': No such file or directory"
                    )
                );
            }
            other => panic!("{other:?}"),
        }
        match load(&line(&["--dir", "/nowhere/at/all"]), &quiet()) {
            Err(LoadError::Line(error)) => assert_eq!(error.reason, "No such file or directory"),
            other => panic!("{other:?}"),
        }
        let endless = write("endless.conf", &format!("include {here}/endless.conf\n"));
        assert!(matches!(
            load(&line(&[&endless]), &quiet()),
            Err(LoadError::Line(_))
        ));
    }
}
