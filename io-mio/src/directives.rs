//! Every directive acts somewhere, or says why not ([`reprise_engine::config::WITHOUT_EFFECT`]).

use reprise_engine::config::{Config, WITHOUT_EFFECT};
use std::fs;
use std::path::Path;

/// All sources of the server but the table of directives itself.
fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, text);
        } else if !path.ends_with("config/table.rs") && path.extension().is_some_and(|e| e == "rs")
        {
            text.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn every_directive_is_read_by_somebody_or_says_why_not() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for dir in ["src", "../engine/src"] {
        sources(&here.join(dir), &mut text);
    }
    let idle: Vec<&str> = Config::names()
        .filter(|name| {
            let field = format!(".{}", name.replace('-', "_"));
            !text.match_indices(&field).any(|(at, _)| {
                let next = text[at + field.len()..].chars().next();
                !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
            })
        })
        .filter(|name| WITHOUT_EFFECT.iter().all(|(known, _)| known != name))
        .collect();
    assert!(idle.is_empty(), "read by nobody: {idle:?}");
}
