//! See [`reprise_cli::aof`].

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    reprise_cli::aof::run(&args, &mut stdin.lock(), &mut stdout.lock())
}
