//! What a hit costs in instructions, under callgrind: a figure that no neighbour on the machine can touch.
//!
//! A program does nothing but hits; it runs twice, and the difference between the two runs is what the hits cost.

use std::fs;
use std::path::Path;

use crate::shell::capture;
use crate::steps::Outcome;
use crate::tools::Tools;
use crate::workspace::Workspace;
use crate::{Error, Result};

/// The limit, with the reason for it.
const LIMIT: &str = "tests/hit-instructions.limit";

/// Hits of the two runs.
const FEW: u64 = 1_000;
const MANY: u64 = 21_000;

/// Counts, and compares with the limit. `probe` is the program `hit-probe` of the tests' own build, so that nothing is built for
/// this step.
pub(crate) fn run(workspace: &Workspace, tools: &Tools, probe: &Path) -> Outcome {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Outcome::Skipped("the limit is for Linux on x86-64".into());
    }
    let judged = limit(workspace.root()).and_then(|limit| {
        let per_hit = count(workspace, tools, probe)?;
        println!("    {per_hit} instructions for a hit, the limit is {limit}");
        Ok(judge(per_hit, limit))
    });
    judged.unwrap_or_else(|error| Outcome::Failed(error.to_string()))
}

fn judge(per_hit: u64, limit: u64) -> Outcome {
    if per_hit > limit {
        return Outcome::Failed(format!(
            "a hit takes {per_hit} instructions, the limit is {limit}: `callgrind_annotate` of the target directory's \
             callgrind.many.out says where; raise {LIMIT} only with a reason"
        ));
    }
    Outcome::Passed
}

fn count(workspace: &Workspace, tools: &Tools, probe: &Path) -> Result<u64> {
    let few = total(workspace, tools, probe, ("few", FEW))?;
    let many = total(workspace, tools, probe, ("many", MANY))?;
    Ok(many.saturating_sub(few) / (MANY - FEW))
}

/// The instructions of one run.
fn total(workspace: &Workspace, tools: &Tools, probe: &Path, (name, hits): (&str, u64)) -> Result<u64> {
    let out = workspace.target().join(format!("callgrind.{name}.out"));
    let mut valgrind = tools.program(workspace, "valgrind");
    valgrind
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(probe)
        .arg(hits.to_string());
    let ran = capture(&mut valgrind)?;
    if !ran.ok {
        return Err(Error(format!("{hits} hits under callgrind failed:\n{}", ran.stderr)));
    }
    let text = fs::read_to_string(&out).map_err(|e| Error(format!("{} could not be read: {e}", out.display())))?;
    summary(&text).ok_or_else(|| Error(format!("{} has no total", out.display())))
}

/// Reads the total of a file of callgrind's: `summary: N`, or `totals: N` at its end.
fn summary(text: &str) -> Option<u64> {
    let total = |line: &str| {
        let number = line
            .strip_prefix("summary: ")
            .or_else(|| line.strip_prefix("totals: "))?;
        number.trim().parse().ok()
    };
    text.lines().find_map(total)
}

fn limit(root: &Path) -> Result<u64> {
    let path = root.join(LIMIT);
    let text = fs::read_to_string(&path).map_err(|e| Error(format!("{LIMIT} could not be read: {e}")))?;
    number(&text).ok_or_else(|| Error(format!("{LIMIT} must hold one number beside its comments (#)")))
}

/// The one line that is no comment.
fn number(text: &str) -> Option<u64> {
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let number = lines.next()?.replace('_', "").parse().ok()?;
    lines.next().is_none().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_limit_fails_and_says_where_to_look() {
        assert_eq!(judge(2_000, 2_000), Outcome::Passed);
        assert!(matches!(judge(2_001, 2_000), Outcome::Failed(why) if why.contains("2001") && why.contains(LIMIT)));
    }

    #[test]
    fn callgrind_is_read_as_it_writes() {
        assert_eq!(
            summary("version: 1\nevents: Ir\nsummary: 123456\n\nfn=(1) main\n"),
            Some(123_456)
        );
        assert_eq!(summary("version: 1\n\ntotals: 77\n"), Some(77));
        assert_eq!(summary("version: 1\n"), None);
    }

    #[test]
    fn a_limit_is_one_number_beside_comments() {
        assert_eq!(number("# why\n\n2_500\n"), Some(2_500));
        assert_eq!(number("# why\n"), None);
        assert_eq!(number("1\n2\n"), None);
        assert_eq!(number("many\n"), None);
    }
}
