//! The reference page, as a user sees it and tries requests out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::server::Server;

/// The dialog for the token.
const DIALOG: &str = ".dialog-ux .modal-ux";
const AUTHORIZE: &str = ".auth-wrapper > .authorize";
/// The methods that a path can have in the document.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// The page in a browser.
pub(crate) struct Reference<'a> {
    pub(crate) browser: &'a Browser,
}

/// One operation on it, unfolded and ready to be tried out.
pub(crate) struct Trial<'a> {
    browser: &'a Browser,
    block: String,
}

/// The response as the page shows it.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) status: String,
    /// JSON, if it is JSON.
    pub(crate) body: Value,
    pub(crate) headers: String,
    /// The URL that the page shows for the request.
    pub(crate) url: String,
}

/// Method and path of every operation in the committed document, and the statuses of its answers.
pub(crate) fn documented() -> BTreeMap<(String, String), BTreeSet<String>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let text = fs::read_to_string(file).expect("the document");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    paths
        .iter()
        .flat_map(|(path, methods)| {
            let operations = METHODS.iter().filter_map(move |method| {
                let responses = methods[*method]["responses"].as_object()?;
                Some((*method, responses.keys().cloned().collect()))
            });
            operations.map(|(method, statuses)| ((method.to_uppercase(), path.clone()), statuses))
        })
        .collect()
}

impl<'a> Reference<'a> {
    /// Opens the page, and waits until it is complete.
    pub(crate) fn open(browser: &'a Browser, server: &Server) -> Reference<'a> {
        browser.go_to(&server.url("/docs"));
        let count = documented().len();
        browser.wait_for(&format!(
            "document.querySelectorAll('.opblock').length >= {count}
                && document.querySelector('section.models') !== null
                && document.fonts.status === 'loaded'"
        ));
        Reference { browser }
    }

    /// Method and path of every operation that is shown, in the order of the page.
    pub(crate) fn operations(&self) -> Vec<(String, String)> {
        let shown = self.browser.evaluate(
            "return Array.from(document.querySelectorAll('.opblock'), block => [
                 block.querySelector('.opblock-summary-method').innerText,
                 block.querySelector('.opblock-summary-path').dataset.path,
             ])",
        );
        serde_json::from_value(shown).expect("pairs of texts")
    }

    /// Unfolds an operation and makes it ready to be tried out.
    pub(crate) fn try_out(&self, method: &str, path: &str) -> Trial<'a> {
        let block = format!(
            ".opblock-{}:has(> .opblock-summary [data-path='{path}'])",
            method.to_lowercase()
        );
        let trial = Trial { browser: self.browser, block };
        trial.click(".opblock-summary-control");
        trial.click(".try-out__btn");
        trial
    }

    /// Types a token into the dialog.
    pub(crate) fn authorize(&self, token: &str) {
        self.browser.click(AUTHORIZE);
        self.browser.type_into(&format!("{DIALOG} input"), token);
        self.browser.click(&format!("{DIALOG} .authorize"));
        self.close_dialog();
    }

    /// Removes the token in the dialog, which must have one.
    pub(crate) fn log_out(&self) {
        self.browser.click(AUTHORIZE);
        // Without a token there would be a field instead of a button to log out.
        self.browser.click(&format!("{DIALOG} form:not(:has(input)) .auth-btn-wrapper > .auth"));
        self.browser
            .wait_for(&format!("document.querySelector({})", json!(format!("{DIALOG} input"))));
        self.close_dialog();
    }

    fn close_dialog(&self) {
        self.browser.click(&format!("{DIALOG} .btn-done"));
        self.browser.wait_until_gone(DIALOG);
    }

    /// Returns whether the page has a token, as its locks show it.
    pub(crate) fn is_authorized(&self) -> bool {
        self.browser.has(".auth-wrapper > .authorize.locked")
    }
}

impl Trial<'_> {
    fn within(&self, selector: &str) -> String {
        format!("{} {selector}", self.block)
    }

    fn click(&self, selector: &str) {
        self.browser.click(&self.within(selector));
    }

    /// Folds it again. With many unfolded operations the page is slow.
    pub(crate) fn fold(self) {
        self.click(".opblock-summary-control");
        self.browser.wait_until_gone(&self.within(".opblock-body"));
    }

    /// The statuses of the described answers.
    pub(crate) fn statuses(&self) -> BTreeSet<String> {
        let described = "table[aria-live] > tbody > .response > .response-col_status";
        self.browser.text(&self.within(described)).lines().map(str::to_owned).collect()
    }

    /// Replaces the body.
    #[must_use]
    pub(crate) fn body(self, body: &Value) -> Self {
        self.browser.type_into(&self.within("textarea.body-param__text"), &body.to_string());
        self
    }

    /// Replaces a parameter.
    #[must_use]
    pub(crate) fn parameter(self, name: &str, value: &str) -> Self {
        let field = format!("[data-param-name='{name}'] input");
        self.browser.type_into(&self.within(&field), value);
        self
    }

    /// Sends the request, and waits for the response on the page.
    pub(crate) fn execute(&self) -> Shown {
        const RESPONSE: &str = ".live-responses-table > tbody > .response";
        if self.browser.has(&self.within(".btn-clear")) {
            self.click(".btn-clear");
            self.browser.wait_until_gone(&self.within(RESPONSE));
        }
        self.click(".execute");
        let response = self.within(RESPONSE);
        let text = |selector: &str| self.browser.text(&format!("{response} {selector}"));
        self.browser.wait_for(&format!("document.querySelector({})", json!(response)));
        let body = text(".highlight-code code");
        Shown {
            status: text(".response-col_status").trim().to_owned(),
            body: serde_json::from_str(&body).unwrap_or(Value::String(body)),
            headers: text(".headerline"),
            url: self.browser.text(&self.within(".request-url pre")),
        }
    }

    /// The same for the last time.
    pub(crate) fn execute_last(self) -> Shown {
        let shown = self.execute();
        self.fold();
        shown
    }
}
