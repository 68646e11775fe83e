//! See [`reprise_cli::rdb`].

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    reprise_cli::rdb::run(&args, &mut std::io::stdout().lock())
}
