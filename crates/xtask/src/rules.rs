//! Rules about the repository's own files, which no compiler checks.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::shell::{capture, program};
use crate::steps::Outcome;
use crate::workspace::Workspace;
use crate::{Error, Result};

/// A source file of this many lines asks to be split.
const TOO_LONG: usize = 700;

/// More findings than this are counted, not printed.
const MAX_PRINTED: usize = 50;

/// Larger files are not text that anybody wrote.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

// Written in two halves, so that this file obeys the rules that it checks.
const PRIVATE_ROOTS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
const UNFINISHED: [&str; 2] = [concat!("to", "do!"), concat!("unimple", "mented!")];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";
const NPM: &str = "https://registry.npmjs.org/";

/// A line that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

pub(crate) fn run(workspace: &Workspace) -> Outcome {
    let files = match files(workspace.root()) {
        Ok(files) => files,
        Err(error) => return Outcome::Warned(format!("not checked, git could not list the files: {error}")),
    };
    let mut findings = Vec::new();
    for path in &files {
        match text(&workspace.root().join(path)) {
            Ok(Some(text)) => findings.extend(check(path, &text)),
            Ok(None) => {}
            Err(error) => return Outcome::Failed(error.to_string()),
        }
    }
    for finding in findings.iter().take(MAX_PRINTED) {
        println!("    {finding}");
    }
    if findings.len() > MAX_PRINTED {
        println!("    and {} more", findings.len() - MAX_PRINTED);
    }
    match findings.len() {
        0 => {
            println!("    {} files obey the rules", files.len());
            Outcome::Passed
        }
        n => Outcome::Failed(format!("{n} lines break a rule of the repository (see above)")),
    }
}

/// Every file that is tracked, or would be by `git add`, so that a rule is broken before the commit and not after it.
fn files(root: &Path) -> Result<Vec<String>> {
    let mut git = program("git");
    git.current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
    ]);
    let answer = capture(&mut git)?;
    if !answer.ok {
        return Err(Error(answer.stderr.trim().to_owned()));
    }
    Ok(answer.stdout.split_terminator('\0').map(str::to_owned).collect())
}

/// The text of a file, or nothing if it has none: a picture, a link to a directory, a file deleted but not yet committed.
fn text(path: &Path) -> Result<Option<String>> {
    let failed = |e: std::io::Error| Error(format!("{} could not be read: {e}", path.display()));
    match fs::metadata(path) {
        Ok(data) if data.is_file() && data.len() <= MAX_BYTES => {}
        Ok(_) => return Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    }
    Ok(String::from_utf8(fs::read(path).map_err(failed)?).ok())
}

/// Checks one file, named by its path in the repository with `/` between the parts.
fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |line: usize, what: String| {
        findings.push(Finding {
            path: path.to_owned(),
            line,
            what,
        })
    };
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_rust = name.ends_with(".rs");
    for (line, content) in text.lines().enumerate().map(|(i, content)| (i + 1, content)) {
        if let Some(root) = PRIVATE_ROOTS.into_iter().find(|root| names_path(content, root)) {
            found(
                line,
                format!("a path below {root} exists on one machine only: use a relative one"),
            );
        }
        if is_rust && let Some(word) = UNFINISHED.into_iter().find(|word| content.contains(word)) {
            found(
                line,
                format!("`{word}` ends the process: finish it, or return an error"),
            );
        }
        let host = match name {
            "Cargo.lock" => foreign_source(content, "source = \"", CRATES_IO),
            "package-lock.json" => foreign_source(content, "\"resolved\": \"", NPM),
            _ => None,
        };
        if host.is_some() {
            found(
                line,
                format!(
                    "locked to another source than {}: lock again with the public registry",
                    public(name)
                ),
            );
        }
    }
    let lines = text.lines().count();
    if is_rust && path.split('/').any(|part| part == "src") && lines >= TOO_LONG {
        found(
            lines,
            format!("{lines} lines, the limit is {}: split it by role", TOO_LONG - 1),
        );
    }
    findings
}

fn public(lock: &str) -> &'static str {
    if lock == "Cargo.lock" { CRATES_IO } else { NPM }
}

/// Whether a line names an absolute path below `root`, and not a relative one or a URL that happens to contain it.
fn names_path(line: &str, root: &str) -> bool {
    line.match_indices(root).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | '}' | '~'))
    })
}

/// The value behind `key` in a lock file's line, if it does not begin with `public`.
fn foreign_source<'a>(line: &'a str, key: &str, public: &str) -> Option<&'a str> {
    line.trim_start()
        .strip_prefix(key)
        .filter(|value| !value.starts_with(public))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(path, text).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_path_of_one_machine_is_found_anywhere() {
        for root in PRIVATE_ROOTS {
            let text = format!("fine\nsee {root}jo/notes\n`{root}x`\npath={root}x\n");
            assert_eq!(lines("docs/a.md", &text), [2, 3, 4], "{root}");
            assert_eq!(lines("Makefile", &format!("{root}x")), [1], "{root}");
        }
    }

    #[test]
    fn relative_paths_and_urls_are_no_paths_of_one_machine() {
        for root in PRIVATE_ROOTS {
            let text = format!("docs{root}x .{root}x ..{root}x ${{HERE}}{root}x https://example.com{root}x ~{root}x");
            assert_eq!(lines("docs/a.md", &text), [0_usize; 0], "{root}");
        }
    }

    #[test]
    fn unfinished_code_is_found_in_rust_files_only() {
        for word in UNFINISHED {
            let text = format!("fn f() {{\n    {word}(\"later\")\n}}\n");
            assert_eq!(lines("crates/a/src/lib.rs", &text), [2], "{word}");
            assert_eq!(lines("docs/a.md", &text), [0_usize; 0], "{word}");
        }
    }

    #[test]
    fn lock_files_name_public_registries_only() {
        let cargo = format!("source = \"{CRATES_IO}\"\nsource = \"registry+https://mirror.example/index\"\n");
        assert_eq!(lines("Cargo.lock", &cargo), [2]);
        assert_eq!(lines("Cargo.lock", "source = \"git+https://github.com/a/b\"\n"), [1]);
        let npm = format!("  \"resolved\": \"{NPM}a.tgz\",\n  \"resolved\": \"http://mirror.example/a.tgz\",\n");
        assert_eq!(lines("tests/idp/package-lock.json", &npm), [2]);
        assert_eq!(lines("docs/lock.md", &cargo), [0_usize; 0]);
    }

    #[test]
    fn a_source_file_has_less_than_the_limit() {
        let long = "\n".repeat(TOO_LONG);
        assert_eq!(lines("crates/a/src/b/c.rs", &long), [TOO_LONG]);
        assert_eq!(lines("tests/src/lib.rs", &long), [TOO_LONG]);
        assert_eq!(lines("crates/a/src/b/c.rs", &long[1..]), [0_usize; 0]);
        assert_eq!(lines("crates/a/tests/golden.rs", &long), [0_usize; 0]);
    }

    #[test]
    fn a_finding_says_where_and_what_to_do() {
        let text = format!("{}(\"x\")", UNFINISHED[0]);
        let found = check("crates/a/src/lib.rs", &text);
        assert!(
            found[0].to_string().starts_with("crates/a/src/lib.rs:1: "),
            "{}",
            found[0]
        );
        assert!(found[0].to_string().contains("finish it"));
    }

    #[test]
    fn a_file_that_is_gone_or_no_text_is_passed_over() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(text(&here.join("no-such-file")).unwrap().is_none());
        assert!(text(here).unwrap().is_none());
        assert!(text(&here.join("Cargo.toml")).unwrap().is_some());
    }
}
