//! A headless Chromium with an empty profile.

use std::fmt;
use std::future::Future;

use fantoccini::elements::Element;
use fantoccini::error::CmdError;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Map, Value, json};
use tokio::runtime::{Builder, Runtime};
use ureq::http::Method;
use url::{ParseError, Url};

use crate::driver::{Driver, Programs};
use crate::wait::{PATIENCE, until};

const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-crash-reporter",
    "--disable-sync",
    "--hide-scrollbars",
];
/// The size of the page, in pixels, as the picture in the documentation has it.
pub(crate) const SIZE: (u32, u32) = (1200, 1000);
/// Ctrl+A, in `WebDriver`'s notation: the next typed text replaces the selection.
const SELECT_ALL: &str = "\u{e009}a\u{e000}";

/// One window. It sends requests only to the hosts it is pointed to.
pub(crate) struct Browser {
    /// Taken when the window is closed.
    client: Option<Client>,
    runtime: Runtime,
    _driver: Driver,
}

/// A request that a page made.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) url: Url,
}

/// A command that only `ChromeDriver` supports.
#[derive(Debug)]
struct Command {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Command {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

impl Browser {
    /// Opens a browser, if there is one on the machine.
    pub(crate) fn open() -> Option<Browser> {
        let programs = Programs::find()?;
        let driver = Driver::start(&programs);
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut flags: Vec<String> = FLAGS.iter().map(|&flag| flag.to_owned()).collect();
        flags.push(format!("--user-data-dir={}", driver.profile().display()));
        let capabilities = Map::from_iter([
            ("browserName".to_owned(), json!("chrome")),
            (
                "goog:chromeOptions".to_owned(),
                json!({ "binary": programs.chromium, "args": flags }),
            ),
            ("goog:loggingPrefs".to_owned(), json!({ "browser": "ALL", "performance": "ALL" })),
        ]);
        let client = runtime.block_on(in_time(
            ClientBuilder::new(HttpConnector::new())
                .capabilities(capabilities)
                .connect(&driver.url()),
        ));
        let browser = Browser { client: Some(client), runtime, _driver: driver };
        let (width, height) = SIZE;
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        browser.command(
            "goog/cdp/execute",
            json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": size }),
        );
        Some(browser)
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("it is open")
    }

    /// Runs a command of the driver to its end.
    fn run<T, E: fmt::Display>(&self, doing: impl Future<Output = Result<T, E>>) -> T {
        self.runtime.block_on(in_time(doing))
    }

    fn command(&self, path: &'static str, body: Value) -> Value {
        self.run(self.client().issue_cmd(Command { path, body }))
    }

    /// Goes to a page, and waits until it is loaded.
    pub(crate) fn go_to(&self, url: &str) {
        self.run(self.client().goto(url));
    }

    /// Returns the result of a function body.
    pub(crate) fn evaluate(&self, body: &str) -> Value {
        self.run(self.client().execute(body, Vec::new()))
    }

    /// Returns the result of an async function body, or the text of what it throws.
    pub(crate) fn evaluate_async(&self, body: &str, args: Vec<Value>) -> Result<Value, String> {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             (async (...args) => {{ {body} }})(...arguments)
                 .then(value => done({{ value }}), error => done({{ error: String(error) }}));"
        );
        let mut answer = self.run(self.client().execute_async(&script, args));
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["value"].take()),
        }
    }

    /// Waits until the value of an expression is not empty.
    pub(crate) fn wait_for(&self, expression: &str) -> Value {
        let body = format!("return {expression}");
        let value = until(|| Some(self.evaluate(&body)).filter(is_something));
        value.unwrap_or_else(|| panic!("in vain: {expression}\n{}", self.text("body")))
    }

    /// Waits until the selector matches nothing.
    pub(crate) fn wait_until_gone(&self, selector: &str) {
        self.wait_for(&format!("document.querySelector({}) === null", Value::from(selector)));
    }

    /// The whole text of the selected element, as shown.
    pub(crate) fn text(&self, selector: &str) -> String {
        let shown = self.evaluate(&format!(
            "return Array.from(document.querySelectorAll({}), e => e.innerText).join('\\n')",
            Value::from(selector)
        ));
        shown.as_str().unwrap_or_default().to_owned()
    }

    /// Returns whether the selector matches anything.
    pub(crate) fn has(&self, selector: &str) -> bool {
        self.evaluate(&format!("return document.querySelector({}) !== null", Value::from(selector)))
            == true
    }

    /// Clicks where a user would.
    pub(crate) fn click(&self, selector: &str) {
        self.with_element(selector, |element| async move { element.click().await });
    }

    /// Replaces the content of a field.
    pub(crate) fn type_into(&self, selector: &str, text: &str) {
        let keys = format!("{SELECT_ALL}{text}");
        self.with_element(selector, |element| {
            let keys = keys.clone();
            async move { element.send_keys(&keys).await }
        });
    }

    /// Does something to the first selected element, once it is there and in reach. The page may
    /// redraw it, or draw something over it, at any moment: then it is tried again.
    fn with_element<F: Future<Output = Result<(), CmdError>>>(
        &self,
        selector: &str,
        act: impl Fn(Element) -> F,
    ) {
        let mut last = None;
        let done = until(|| {
            let tried = self
                .runtime
                .block_on(async { act(self.client().find(Locator::Css(selector)).await?).await });
            tried.map_err(|error| last = Some(error)).ok()
        });
        assert!(done.is_some(), "{selector}: {last:?}\n{}", self.text("body"));
    }

    /// The errors on the console since the last call: of scripts, of loading, and of forbidden
    /// actions.
    pub(crate) fn errors(&self) -> Vec<String> {
        self.log("browser")
            .into_iter()
            .filter(|entry| entry["level"] == "SEVERE")
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// The requests of pages to any host since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log("performance")
            .into_iter()
            .filter_map(|entry| {
                let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
                let event = &event["message"];
                let request = &event["params"]["request"];
                let sent = event["method"] == "Network.requestWillBeSent";
                let url = Url::parse(request["url"].as_str().filter(|_| sent)?).expect("a URL");
                // Others are for the browser itself, or for the page itself.
                let leaves = matches!(url.scheme(), "http" | "https" | "ws" | "wss");
                let method = request["method"].as_str()?.to_owned();
                leaves.then_some(Request { method, url })
            })
            .collect()
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        match self.command("se/log", json!({ "type": kind })) {
            Value::Array(entries) => entries,
            other => panic!("no log: {other}"),
        }
    }

    /// A picture of the page, as a PNG.
    pub(crate) fn picture(&self) -> Vec<u8> {
        self.run(self.client().screenshot())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends in good order when asked to. If it does not, its process group is
        // killed.
        if let Some(client) = self.client.take() {
            let _ = self
                .runtime
                .block_on(async { tokio::time::timeout(PATIENCE, client.close()).await });
        }
    }
}

async fn in_time<T, E: fmt::Display>(doing: impl Future<Output = Result<T, E>>) -> T {
    let done = tokio::time::timeout(PATIENCE, doing).await.expect("the browser answers in time");
    done.unwrap_or_else(|error| panic!("the browser fails: {error}"))
}

fn is_something(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}
