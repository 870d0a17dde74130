//! Says in the build which sources it is made of: the commit, where git knows it.
//!
//! Nothing else of the machine or the moment goes into it, so that the same sources give the same
//! build. `VECHE_BUILD_COMMIT` in the environment is believed where there is no git, as in a build
//! from an archive of the sources.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What is said without git, or outside of a working tree of our own.
const UNKNOWN: &str = "unknown";
/// How the commit comes from outside, and how it goes to the program.
const COMMIT: &str = "VECHE_BUILD_COMMIT";

fn main() {
    println!("cargo::rerun-if-env-changed={COMMIT}");
    let given = env::var(COMMIT).ok().filter(|commit| is_printable(commit));
    let commit = given.or_else(commit).unwrap_or_else(|| UNKNOWN.to_owned());
    println!("cargo::rustc-env={COMMIT}={commit}");
}

/// The commit of the working tree, and whether anything in it that is tracked is another.
fn commit() -> Option<String> {
    // The sources may lie in the working tree of something else, whose commit says nothing of them.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let here = fs::canonicalize(env::var_os("CARGO_MANIFEST_DIR")?).ok()?;
    if fs::canonicalize(top).ok()? != here {
        return None;
    }
    let commit = git(&["rev-parse", "--verify", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    // With any of these another build is made; of the sources cargo knows only with them.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs", "index"].into_iter().chain(branch.as_deref()) {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for path in ["build.rs", "Cargo.toml", "Cargo.lock", "src", "docs"] {
        println!("cargo::rerun-if-changed={path}");
    }
    Some(if changes.is_empty() { commit } else { format!("{commit} with changes") })
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("--no-optional-locks").args(args).output().ok()?;
    let said = output.status.success().then_some(output.stdout)?;
    Some(String::from_utf8(said).ok()?.trim_end().to_owned())
}

fn is_printable(commit: &str) -> bool {
    !commit.is_empty() && commit.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}
