//! A page of another origin that uses the API.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::server::Server;
use crate::wait::PATIENCE;

/// The script of a page that writes a message and reads it back.
const USE: &str = "
    const [api, token] = args;
    const headers = { Authorization: `Bearer ${token}` };
    const body = JSON.stringify({ text: 'from elsewhere' });
    const posted = await fetch(`${api}/api/messages`, {
        method: 'POST',
        headers: { ...headers, 'Content-Type': 'application/json' },
        body,
    });
    const list = await fetch(`${api}/api/messages`, { headers });
    const one = await fetch(new URL(posted.headers.get('Location'), api), { headers });
    const tag = one.headers.get('ETag');
    const again = await fetch(one.url, { headers: { ...headers, 'If-None-Match': tag } });
    const refused = await fetch(`${api}/api/messages`);
    return {
        posted: posted.status,
        location: posted.headers.get('Location'),
        list: await list.json(),
        link: list.headers.get('Link'),
        tag,
        again: again.status,
        refused: refused.status,
        challenge: refused.headers.get('WWW-Authenticate'),
    };";

/// Serves an empty page as long as the test runs.
struct Site(SocketAddr);

impl Site {
    fn start() -> Site {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let addr = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // The browser opens connections that it may never use.
                thread::spawn(move || serve(stream));
            }
        });
        Site(addr)
    }

    fn origin(&self) -> String {
        format!("http://{}", self.0)
    }
}

/// Answers one request.
fn serve(mut stream: TcpStream) {
    const PAGE: &str = "<!doctype html><link rel=icon href=data:,><title>Elsewhere</title>";
    let _ = stream.set_read_timeout(Some(PATIENCE));
    // Its head is shorter than that, and comes at once.
    let read = stream.read(&mut [0; 8192]);
    if read.is_ok_and(|read| read > 0) {
        let length = PAGE.len();
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{PAGE}"
        );
    }
}

#[test]
fn a_page_of_an_origin_that_is_let_in_can_use_the_api() {
    let Some(browser) = Browser::open() else { return };
    let site = Site::start();
    let server = Server::start_with(&["--cors-origin", &site.origin()]);
    let token = server.sign_up("alice", "open sesame");
    browser.go_to(&site.origin());
    assert_eq!(browser.evaluate("return document.title"), "Elsewhere");
    let used = browser.evaluate_async(USE, vec![json!(server.origin()), json!(token)]);
    let used = used.expect("the page may use the API");
    assert_eq!(used["posted"], 201, "{used}");
    assert_eq!(used["location"], "/api/messages/0", "{used}");
    assert_eq!(used["list"][0]["text"], "from elsewhere", "{used}");
    let ends_with = |field: &Value, end: &str| field.as_str().is_some_and(|s| s.ends_with(end));
    assert!(ends_with(&used["link"], "rel=\"next\""), "{used}");
    assert!(ends_with(&used["tag"], "\""), "{used}");
    assert_eq!(used["again"], 304, "{used}");
    assert_eq!(used["refused"], 401, "{used}");
    assert_eq!(used["challenge"], "Bearer realm=\"veche\"", "{used}");
    // There was a preflight; otherwise the test would prove nothing.
    let asked = browser.requests();
    let preflights: BTreeSet<_> = asked
        .iter()
        .filter(|asked| asked.method == "OPTIONS")
        .map(|asked| asked.url.path())
        .collect();
    assert_eq!(preflights, BTreeSet::from(["/api/messages", "/api/messages/0"]));
    let errors = browser.errors();
    assert!(errors.iter().all(|error| error.contains("401")) && errors.len() == 1, "{errors:?}");
}

#[test]
fn a_page_of_any_other_origin_cannot() {
    let Some(browser) = Browser::open() else { return };
    let site = Site::start();
    for flags in [&[] as &[&str], &["--cors-origin", "https://chat.example.org"]] {
        let server = Server::start_with(flags);
        let token = server.sign_up("alice", "open sesame");
        browser.go_to(&site.origin());
        let used = browser.evaluate_async(USE, vec![json!(server.origin()), json!(token)]);
        assert_eq!(used, Err("TypeError: Failed to fetch".to_owned()), "{flags:?}");
        // Nor can it read without a preflight: the browser sends the request, but does not show the
        // answer.
        let read = "return (await fetch(`${args[0]}/openapi.json`)).status";
        let read = browser.evaluate_async(read, vec![json!(server.origin())]);
        assert_eq!(read, Err("TypeError: Failed to fetch".to_owned()), "{flags:?}");
        let errors = browser.errors();
        let by_policy = errors.iter().filter(|error| error.contains("CORS policy")).count();
        assert_eq!(by_policy, 2, "{flags:?}: {errors:?}");
        // Nothing was written.
        assert_eq!(server.messages(&token), json!([]), "{flags:?}");
    }
}
