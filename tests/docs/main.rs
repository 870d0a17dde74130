//! The documentation, run: every page of `docs/api/` and the README is a session with a server.
//!
//! In this process, on every store, with a fixed clock, each response is pinned in `snapshots/`;
//! it is the same snapshot for all stores, which is the proof that they can be exchanged. The
//! page shows the accepted snapshot. Against the real binary the same commands run again, and
//! only what [`volatile`] names may differ.
//!
//! After a change, either accept the responses with `cargo insta review` and rewrite the pages
//! from them,
//!
//! ```sh
//! VECHE_DOCS=rewrite cargo test --test docs in_process
//! ```
//!
//! or, with `INSTA_UPDATE=always` before it, do both at once and review the difference in git. (The
//! other tests read pages and snapshots that are only then being written.)
#![expect(clippy::unwrap_used, clippy::panic, reason = "it is all a test")]

mod binary;
mod coverage;
mod crowd;
mod faulty;
mod host;
mod in_process;
mod links;
mod page;
mod session;
mod shell;
mod snapshot;
mod tables;
mod volatile;

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::{env, fs, thread};

use binary::Binary;
use host::Store;
use in_process::InProcess;
use page::{Page, root};
use session::Exchange;

/// A page, and its session with the server in this process once somebody has asked for it.
struct Case {
    name: &'static str,
    path: &'static str,
    exchanges: OnceLock<Vec<Exchange>>,
}

/// Declares [`CASES`], and two tests for each.
macro_rules! pages {
    ($($name:ident: $path:literal,)*) => {
        static CASES: &[&Case] = &[$(&$name::CASE),*];

        $(mod $name {
            use std::sync::OnceLock;

            pub(crate) static CASE: super::Case =
                super::Case { name: stringify!($name), path: $path, exchanges: OnceLock::new() };

            #[test]
            fn in_process() {
                CASE.check_in_process();
            }

            #[test]
            fn binary() {
                CASE.check_binary();
            }
        })*
    };
}

pages! {
    readme: "README.md",
    accounts: "docs/api/accounts.md",
    aliases: "docs/api/aliases.md",
    messages: "docs/api/messages.md",
    private_messages: "docs/api/private-messages.md",
    users: "docs/api/users.md",
    paging: "docs/api/paging.md",
    errors: "docs/api/errors.md",
}

/// The list of the pages, which has no session of its own.
const INDEX: &str = "docs/api/README.md";

impl Case {
    fn page(&self) -> Page {
        Page::read(self.name, self.path)
    }

    fn exchanges(&self) -> &[Exchange] {
        self.exchanges.get_or_init(|| {
            let page = self.page();
            let (memory, sled) = on_both(|store| session::run(&page, &InProcess::start(store)));
            for (memory, sled) in memory.iter().zip(&sled) {
                assert_eq!(memory, sled, "the stores differ");
            }
            memory
        })
    }

    fn check_in_process(&self) {
        snapshot::pin(self.exchanges());
        let page = self.page();
        if env::var_os("VECHE_DOCS").is_some_and(|mode| mode == "rewrite") {
            page.rewrite(snapshot::accepted);
            return;
        }
        for response in page.responses() {
            let accepted = snapshot::accepted(&response.name);
            assert_eq!(page.shown(response), accepted, "{} is out of date", self.path);
        }
    }

    fn check_binary(&self) {
        let page = self.page();
        on_both(|store| {
            let binary = Binary::start(store);
            for Exchange { name, response, .. } in session::run(&page, &binary) {
                let accepted = volatile::mask(&snapshot::accepted(&name));
                assert_eq!(volatile::mask(&response), accepted, "{name}, on {store:?}");
            }
            let status = binary.terminate();
            assert!(status.success(), "{status}, on {store:?}");
        });
    }
}

/// The same on each store, at the same time: memory's result, and sled's.
fn on_both<T: Send>(run: impl Fn(Store) -> T + Sync) -> (T, T) {
    thread::scope(|scope| {
        let memory = scope.spawn(|| run(Store::Memory));
        let sled = run(Store::Sled);
        (memory.join().unwrap_or_else(|panic| resume_unwind(panic)), sled)
    })
}

#[test]
fn every_status_of_every_route_has_an_example() {
    let exchanges: Vec<_> = CASES.iter().flat_map(|case| case.exchanges()).collect();
    let complaints = coverage::complaints(&exchanges);
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn every_snapshot_has_an_example() {
    let steps = CASES.iter().flat_map(|case| case.page().steps);
    let named = steps.filter_map(|step| Some(step.response?.name));
    assert_same(&snapshot::names(), &named.collect());
}

#[test]
fn every_page_is_run() {
    let files = fs::read_dir(root().join("docs/api")).unwrap();
    let files = files.map(|file| format!("docs/api/{}", file.unwrap().file_name().display()));
    let known = CASES.iter().map(|case| case.path).chain([INDEX]).map(str::to_owned);
    assert_same(&files.chain(["README.md".to_owned()]).collect(), &known.collect());
}

#[test]
fn links_lead_somewhere() {
    let paths = CASES.iter().map(|case| case.path).chain([INDEX]);
    let broken: Vec<_> = paths.flat_map(links::broken).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn json_parses() {
    for case in CASES {
        for json in case.page().json() {
            let parsed = serde_json::from_str::<serde_json::Value>(json);
            assert!(parsed.is_ok(), "{}: {parsed:?} of {json}", case.path);
        }
    }
}

#[test]
fn the_index_lists_the_routes() {
    let index = Page::read("index", INDEX);
    assert_same(&tables::rows(index.source(), "method"), &tables::routes());
}

#[test]
fn the_errors_page_lists_the_kinds() {
    assert_same(&tables::rows(errors::CASE.page().source(), "status"), &tables::kinds());
}

/// Like `assert_eq`, but says only what differs.
fn assert_same(found: &BTreeSet<String>, expected: &BTreeSet<String>) {
    let surplus: Vec<_> = found.difference(expected).collect();
    let missing: Vec<_> = expected.difference(found).collect();
    assert!(found == expected, "surplus: {surplus:#?}\nmissing: {missing:#?}");
}
