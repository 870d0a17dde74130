//! Holds the code to what `docs/architecture.md` says of it.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod imports;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use syn::Item;

use imports::{cycles, imports};
use source::{attributes, is_for_tests, root, sources};

/// The imports that each module may have from the crate. A module imports itself freely; what is not listed
/// is forbidden. This is the picture in `docs/architecture.md`, as a table.
const IMPORTS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("sys", &["model"]),
    ("problem", &[]),
    ("store", &["model"]),
    ("auth", &["model", "sys"]),
    ("api", &["store", "auth", "problem", "model", "sys"]),
    ("http", &["api", "store", "problem", "model", "sys"]),
    ("docs", &["model", "sys"]),
    ("backup", &["store"]),
    ("printable", &[]),
    ("progress", &["docs", "printable", "store"]),
    ("cli", &["api", "store"]),
];

/// The module that the tests within `src/` share with those beside it. It says how much they do of
/// what takes long.
const TEST_SUPPORT: &str = "extent";

/// The things that only these modules may know, by import or by name.
const KNOWLEDGE: &[(&str, &[&str])] = &[
    ("tiny_http::", &["http"]),
    ("socket2::", &["http"]),
    // Who a client is told apart by is an address; a socket is something else.
    ("std::net", &["http", "cli", "api"]),
    ("SocketAddr", &["http", "cli"]),
    ("TcpListener", &["http"]),
    ("TcpStream", &["http"]),
    // The store has one for closing sled, which can wait for ever.
    ("std::thread", &["http", "docs", "main", "commands", "store"]),
    ("std::fs", &["store", "auth", "http", "docs", "backup", "commands"]),
    ("std::process", &["docs", "main", "commands"]),
    ("::sled::", &["store"]),
    ("tempfile::", &["store", "backup", "http"]),
    ("ureq::", &["backup"]),
    ("jsonwebtoken::", &["auth"]),
    ("argon2::", &["auth"]),
    ("SystemTime", &["sys"]),
    ("getrandom::", &["sys"]),
    ("clap::", &["cli"]),
    ("indicatif::", &["progress"]),
    ("prometheus_client::", &["http"]),
    ("sd_notify::", &["commands"]),
    // What goes to a terminal is escaped in one place.
    ("print!", &["printable"]),
    ("println!", &["printable"]),
    ("dbg!", &[]),
    ("io::stdout", &["printable", "http"]),
    ("io::stderr", &["printable"]),
    ("Stdout", &["printable", "http"]),
    ("Stderr", &["printable"]),
    ("env_logger::", &["main"]),
];

#[test]
fn imports_run_one_way() {
    for source in sources() {
        let top = source.top();
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == top) else {
            assert!(
                ["main", "commands", "lib"].contains(&top),
                "{top} is not in the table of imports"
            );
            continue;
        };
        for line in source.code() {
            for (at, start) in line.match_indices("crate::") {
                let imported: String = line[at + start.len()..]
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                assert!(
                    imported == top
                        || allowed.contains(&&*imported)
                        || (source.is_test && imported == TEST_SUPPORT),
                    "{}: {top} must not import {imported}: {line}",
                    source.name()
                );
            }
        }
    }
}

/// No file leads back to itself by what it imports, and what those import.
#[test]
fn imports_have_no_cycle() {
    let sources = sources();
    let imports = imports(&sources);
    let found: Vec<String> = cycles(&imports)
        .into_iter()
        .map(|cycle| {
            let arrows = cycle.iter().flat_map(|from| {
                let within = imports[*from].iter().filter(|(to, _)| cycle.contains(&***to));
                within.map(move |(to, names)| format!("  {from} -> {to}: {names:?}"))
            });
            arrows.collect::<Vec<_>>().join("\n")
        })
        .collect();
    assert!(found.is_empty(), "{} cycles:\n{}", found.len(), found.join("\n\n"));
    // The imports of a file that is known to have some are found.
    assert!(imports["src/http/turn.rs"].len() > 10, "{:?}", imports["src/http/turn.rs"]);
}

/// A type's name stands for one thing in all of `src/`.
#[test]
fn type_names_are_unique() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources().iter().filter(|source| !source.is_test) {
        for item in source.file.items.iter().filter(|item| !is_for_tests(attributes(item))) {
            let name = match item {
                Item::Enum(it) => &it.ident,
                Item::Struct(it) => &it.ident,
                Item::Trait(it) => &it.ident,
                Item::Type(it) => &it.ident,
                _ => continue,
            };
            places.entry(name.to_string()).or_default().push(source.name());
        }
    }
    places.retain(|_, files| files.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}

/// Doc comments begin with a noun or a verb.
#[test]
fn doc_comments_do_not_begin_with_a_relative_word() {
    const WORDS: [&str; 11] =
        ["What", "Who", "Whose", "Whom", "Whether", "Of", "As", "How", "That", "Why", "Which"];
    let mut dirs = ["src", "tests", "benches", "fuzz"].map(|dir| root().join(dir)).to_vec();
    let mut found = Vec::new();
    let mut count = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                for first in first_lines(&text) {
                    count += 1;
                    let word = first.split([' ', ',', ':']).next().unwrap_or_default();
                    if WORDS.contains(&word) {
                        found.push(format!("{}: {first}", path.display()));
                    }
                }
            }
        }
    }
    assert!(count > 1000, "{count}");
    assert!(found.is_empty(), "{found:#?}");
}

/// The first line of each doc comment.
fn first_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut is_inside = false;
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        let content = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        let is_first = !is_inside;
        is_inside = content.is_some();
        content.filter(|_| is_first).map(str::trim_start)
    })
}

#[test]
fn each_thing_is_known_to_its_module_only() {
    for source in sources() {
        for line in source.code() {
            for (thing, knowing) in KNOWLEDGE {
                // A test says what it is doing.
                let is_said =
                    source.is_test && thing.ends_with("print!") | thing.ends_with("println!");
                assert!(
                    is_said || !line.contains(thing) || knowing.contains(&source.top()),
                    "{}: only {knowing:?} may know {thing}: {line}",
                    source.name()
                );
            }
        }
    }
}

/// Every dependency has its reason in the architecture document, and no reason is left over.
#[test]
fn dependencies_are_listed_with_their_reasons() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut declared = BTreeSet::new();
    let mut in_dependencies = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line == "[dependencies]" || line == "[dev-dependencies]";
        } else if let (true, Some((name, rest))) = (in_dependencies, line.split_once(" = ")) {
            let package =
                rest.split_once("package = \"").and_then(|(_, rest)| rest.split('"').next());
            declared.insert(package.unwrap_or(name).to_owned());
        }
    }
    let document = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let (_, section) =
        document.split_once("\n## Dependencies\n").expect("a section on dependencies");
    let section = section.split("\n## ").next().unwrap();
    let listed: BTreeSet<String> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, declared);
}

/// Returns whether a line of CI's script is one of the checks.
fn is_check(line: &str) -> bool {
    line.strip_prefix("VECHE_TESTS=long ").unwrap_or(line).starts_with("cargo ")
}

/// CI and the contributing page run the same commands, in the same order.
#[test]
fn ci_runs_what_the_contributing_page_names() {
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let (_, block) = page.split_once("```sh\n").unwrap();
    let named: Vec<&str> = block.split("```").next().unwrap().lines().collect();
    let script = fs::read_to_string(root().join(".ci/run")).unwrap();
    let run: Vec<&str> = script.lines().filter(|line| is_check(line)).collect();
    assert_eq!(run, named);
}

/// A patch that does not apply any more proves nothing: `tests/mutations/run` would stop at it.
#[test]
fn every_mutation_still_applies() {
    let dir = root().join("tests/mutations");
    let entries = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let patches: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "patch")).collect();
    assert!(patches.len() >= 3, "{patches:?}");
    for patch in patches {
        let text = fs::read_to_string(&patch).unwrap();
        assert!(text.contains("\nTurns red: --"), "{} names its test", patch.display());
        let checked = Command::new("git")
            .current_dir(root())
            .args(["apply", "--check", "--verbose"])
            .arg(&patch)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{}: {said}", patch.display());
        assert!(said.contains("Checking patch"), "{} is looked at: {said}", patch.display());
    }
}

/// A build reports the commit that it is of, or nothing; never that of a working tree
/// that the sources happen to lie in.
#[test]
fn a_build_says_which_commit_it_is_of() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("build");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-o"]).arg(&script).arg(root().join("build.rs"));
    assert!(rustc.status().unwrap().success());
    let tree = dir.path().join("tree");
    let below = tree.join("below");
    fs::create_dir_all(&below).unwrap();
    let says = |place: &Path, given: Option<&str>| {
        let mut run = Command::new(&script);
        run.current_dir(place).env("CARGO_MANIFEST_DIR", place).env_remove("VECHE_BUILD_COMMIT");
        run.envs(given.map(|commit| ("VECHE_BUILD_COMMIT", commit)));
        let output = run.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let line = said.lines().find_map(|it| it.split_once("=VECHE_BUILD_COMMIT="));
        line.unwrap_or_else(|| panic!("{said}")).1.to_owned()
    };
    let git = |args: &[&str]| {
        let identity =
            ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"];
        let output = Command::new("git").args(identity).args(args).current_dir(&tree).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    // An archive of the sources: no git, or somebody else's.
    assert_eq!(says(&tree, None), "unknown");
    git(&["init", "--quiet"]);
    assert_eq!(says(&tree, None), "unknown", "there is no commit");
    fs::write(tree.join("file"), "one").unwrap();
    git(&["add", "file"]);
    git(&["commit", "--quiet", "--message", "one"]);
    let commit = git(&["rev-parse", "HEAD"]);
    assert_eq!(says(&tree, None), commit);
    assert_eq!(says(&below, None), "unknown", "another tree's");
    assert_eq!(says(&below, Some("1.2.3-1")), "1.2.3-1");
    assert_eq!(says(&tree, Some("")), commit, "as if it were not set");
    fs::write(tree.join("file"), "two").unwrap();
    assert_eq!(says(&tree, None), format!("{commit} with changes"));
}
