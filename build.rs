//! Records in the build which sources it is made of: the commit, if git knows it.
//!
//! Nothing else of the machine or the time is recorded, so that the same sources give the same
//! build. Without git, as in a build from an archive of the sources, the commit is taken from
//! `VECHE_BUILD_COMMIT` in the environment.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The commit of a build without git, or outside of a working tree of its own.
const UNKNOWN: &str = "unknown";
/// The environment variable with the commit, for the build script and for the program.
const COMMIT: &str = "VECHE_BUILD_COMMIT";

fn main() {
    println!("cargo::rerun-if-env-changed={COMMIT}");
    let given = env::var(COMMIT).ok().filter(|commit| is_printable(commit));
    let commit = given.or_else(commit).unwrap_or_else(|| UNKNOWN.to_owned());
    println!("cargo::rustc-env={COMMIT}={commit}");
}

/// The commit of the working tree, with a note if tracked files were changed.
fn commit() -> Option<String> {
    // The sources may lie in another project's working tree, whose commit says nothing of them.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let here = fs::canonicalize(env::var_os("CARGO_MANIFEST_DIR")?).ok()?;
    if fs::canonicalize(top).ok()? != here {
        return None;
    }
    let commit = git(&["rev-parse", "--verify", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    // A change of any of these changes the commit. cargo watches the sources only if they are
    // listed.
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
