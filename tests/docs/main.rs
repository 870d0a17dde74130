//! Runs the documentation: every page of `docs/api/` and the README is a session with a server.
//!
//! In this process, on every store, with a fixed clock, each response is pinned in `snapshots/`. All
//! stores share one snapshot, which proves that they can be exchanged. The page shows the accepted
//! snapshot. Against the real binary the same commands run again, and only what [`volatile`] names
//! may differ.
//!
//! After a change, either accept the responses with `cargo insta review` and rewrite the pages from
//! them,
//!
//! ```sh
//! VECHE_DOCS=rewrite cargo test --test docs in_process
//! ```
//!
//! or, with `INSTA_UPDATE=always` before it, do both at once and review the difference in git. (The
//! filter leaves out the other tests, which read pages and snapshots while they are being written.)
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
mod closed;
#[path = "../contract/mod.rs"]
mod contract;
mod coverage;
mod crowd;
mod faulty;
mod host;
mod in_process;
mod links;
mod openapi;
mod page;
mod promise;
mod readmes;
mod session;
mod snapshot;
mod tables;

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::{env, fs, thread};

use binary::Binary;
use host::Store;
use in_process::InProcess;
use page::{DocPage, root};
use session::RecordedExchange;
use veche::docs::{PAGES, Source, volatile};

/// A page, and its session with the server in this process after the first use.
struct Case {
    name: &'static str,
    exchanges: OnceLock<Vec<RecordedExchange>>,
}

/// Declares [`CASES`], and two tests for each.
macro_rules! cases {
    ($($name:ident)*) => {
        static CASES: &[&Case] = &[$(&$name::CASE),*];

        $(mod $name {
            use std::sync::OnceLock;

            pub(crate) static CASE: super::Case =
                super::Case { name: stringify!($name), exchanges: OnceLock::new() };

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

cases! {
    readme accounts sessions aliases messages private_messages conversations editing events users blocks moderation paging long_poll errors retries reference health limits cors
}

/// The list of the pages, which has no session of its own.
const INDEX: &str = "docs/api/README.md";

impl Case {
    fn source(&self) -> &'static Source {
        PAGES.iter().find(|source| source.name == self.name).unwrap()
    }

    fn page(&self) -> DocPage {
        page::read(self.name, self.source().path)
    }

    fn exchanges(&self) -> &[RecordedExchange] {
        self.exchanges.get_or_init(|| {
            let (page, arguments) = (self.page(), self.source().arguments);
            let run = |store| session::run(&page, &InProcess::start(store, arguments));
            let (memory, sled) = on_both(run);
            let settle = |exchange: RecordedExchange| {
                let response = volatile::settle(&exchange.response);
                RecordedExchange { response, ..exchange }
            };
            let [memory, sled] = [memory, sled]
                .map(|exchanges| exchanges.into_iter().map(settle).collect::<Vec<_>>());
            for (memory, sled) in memory.iter().zip(&sled) {
                assert_eq!(memory, sled, "the stores differ");
            }
            memory
        })
    }

    fn check_in_process(&self) {
        snapshot::pin(self.exchanges());
        let page = self.page();
        if rewriting() {
            page::rewrite(&page, self.source().path, snapshot::accepted);
            return;
        }
        for response in page.responses() {
            let accepted = snapshot::accepted(&response.name);
            assert_eq!(page.shown(response), accepted, "{} is out of date", self.source().path);
        }
        self.exchanges().iter().for_each(promise::check);
    }

    fn check_binary(&self) {
        let page = self.page();
        on_both(|store| {
            let binary = Binary::start(store, self.source().arguments);
            for exchange in session::run(&page, &binary) {
                promise::check(&exchange);
                let RecordedExchange { name, response, .. } = exchange;
                let accepted = volatile::mask(&snapshot::accepted(&name));
                assert_eq!(volatile::mask(response.trim_end()), accepted, "{name}, on {store:?}");
            }
            let status = binary.terminate();
            assert!(status.success(), "{status}, on {store:?}");
        });
    }
}

/// Returns whether the documents are to be rewritten rather than checked.
fn rewriting() -> bool {
    env::var_os("VECHE_DOCS").is_some_and(|mode| mode == "rewrite")
}

/// Runs the same on each store, at the same time: returns memory's result, and sled's.
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
    assert_same(&snapshot::names(), &named.chain([openapi::NAME.to_owned()]).collect());
}

/// The `OpenAPI` document is made of the routes and the pinned responses.
#[test]
fn the_openapi_document_is_in_process() {
    let exchanges: Vec<_> = CASES.iter().flat_map(|case| case.exchanges()).collect();
    let document = openapi::document(&exchanges);
    snapshot::pin_one(openapi::NAME, &document, "the OpenAPI document");
    if rewriting() {
        openapi::rewrite(&document);
        return;
    }
    assert!(openapi::committed() == document, "{} is out of date", openapi::PATH);
}

#[test]
fn every_page_is_run() {
    let files = fs::read_dir(root().join("docs/api")).unwrap();
    let files = files.map(|file| format!("docs/api/{}", file.unwrap().file_name().display()));
    let known = CASES.iter().map(|case| case.source().path).chain([INDEX]).map(str::to_owned);
    assert_same(&files.chain(["README.md".to_owned()]).collect(), &known.collect());
}

#[test]
fn links_lead_somewhere() {
    let paths = CASES.iter().map(|case| case.source().path).chain([INDEX, readmes::RUSSIAN]);
    let broken: Vec<_> = paths.flat_map(links::broken).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The English README is tested; the Russian one shows the same examples.
#[test]
fn the_readmes_are_the_same_in_process() {
    if rewriting() {
        readme::CASE.check_in_process();
        readmes::rewrite();
    }
    assert_eq!(readmes::difference(), None);
}

#[test]
fn json_parses() {
    for case in CASES {
        for json in case.page().json() {
            let parsed = serde_json::from_str::<serde_json::Value>(json);
            assert!(parsed.is_ok(), "{}: {parsed:?} of {json}", case.source().path);
        }
    }
}

#[test]
fn the_index_lists_the_routes() {
    let index = page::read("index", INDEX);
    assert_same(&tables::rows(index.source(), "method"), &tables::routes());
}

#[test]
fn the_errors_page_lists_the_kinds() {
    assert_same(&tables::rows(errors::CASE.page().source(), "status"), &tables::kinds());
}

/// Like `assert_eq`, but prints only the differences.
fn assert_same(found: &BTreeSet<String>, expected: &BTreeSet<String>) {
    let surplus: Vec<_> = found.difference(expected).collect();
    let missing: Vec<_> = expected.difference(found).collect();
    assert!(found == expected, "surplus: {surplus:#?}\nmissing: {missing:#?}");
}
