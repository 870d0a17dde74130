//! Query strings, against every list: what comes back is refused with a reason, or a page from
//! which links lead to everything that there is, each item once.
//!
//! An input is the query as it stands in a request's target.

use std::cell::RefCell;

use serde_json::Value;
use veche::api::{App, Outcome, Reply, Request};
use veche::model::MAX_ID;

use super::stage::{self, EPOCH, ISSUED, Said, USERS};

/// The lists, as user 1 sees them.
const LISTS: [&str; 4] =
    ["/api/messages", "/api/users", "/api/users/me/messages", "/api/users/1/messages"];
/// The user who sends the requests.
const READER: u64 = 1;

thread_local! {
    /// Reading changes nothing, so that one will do.
    static APP: RefCell<App> = RefCell::new(stage::app(stage::store(said())));
}

/// Asks every list for the page that `input` describes.
///
/// # Panics
///
/// Where a page is wrong, or a refusal without a reason.
pub fn check(input: &[u8]) {
    let Ok(query) = str::from_utf8(input) else { return };
    APP.with_borrow_mut(|app| LISTS.into_iter().for_each(|list| ask(app, list, query)));
}

fn ask(app: &mut App, list: &str, query: &str) {
    let reply = get(app, &format!("{list}?{query}"));
    let given: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let value = |name: &str| given.iter().find(|(it, _)| it == name).map(|(_, value)| &**value);
    match reply.status {
        200 if list == "/api/users" && value("username").is_some() => {
            let found = ids(&reply);
            assert!(found.len() <= 1 && found.iter().all(|id| USERS.iter().any(|it| it.0 == *id)));
        }
        200 => {
            let page = Page::of(&reply);
            let asked = |name| value(name).map(|value| value.parse::<i64>().unwrap());
            let limit = asked("limit").unwrap_or(100);
            assert!(page.ids.len() <= usize::try_from(limit).unwrap(), "{limit}: {:?}", page.ids);
            let is_within = |id: &u64| {
                let id = i64::try_from(*id).unwrap();
                asked("before").is_none_or(|end| id < end)
                    && asked("after").is_none_or(|start| id > start)
            };
            assert!(page.ids.iter().all(is_within), "{:?} for {query}", page.ids);
            let with = value("with").filter(|_| list != "/api/messages" && list != "/api/users");
            follow(app, page, &everything(list, with.map(|with| with.parse().unwrap())));
        }
        400 => {
            let problem: Value = serde_json::from_slice(&reply.body).unwrap();
            let parameter = problem["parameter"].as_str().unwrap();
            assert!(value(parameter).is_some(), "{parameter} was not given");
        }
        410 => assert_ne!(value("epoch").unwrap(), EPOCH.to_string()),
        status => unreachable!("{status}"),
    }
}

/// Follows the links of a page to both ends of its list.
fn follow(app: &mut App, page: Page, list: &[u64]) {
    let Page { ids: mut seen, mut prev, mut next } = page;
    while let Some(url) = prev {
        let older = Page::of(&get(app, &url));
        assert!(!older.ids.is_empty(), "nothing is at {url}");
        seen.splice(0..0, older.ids);
        assert!(seen.len() <= list.len(), "an item came twice: {seen:?}");
        prev = older.prev;
    }
    loop {
        let newer = Page::of(&get(app, &next));
        if newer.ids.is_empty() {
            assert_eq!(newer.next, next, "who has seen all comes back to the same place");
            break;
        }
        seen.extend(newer.ids);
        assert!(seen.len() <= list.len(), "an item came twice: {seen:?}");
        next = newer.next;
    }
    assert_eq!(seen, list);
}

/// All ids of a list, in order.
fn everything(list: &str, with: Option<u64>) -> Vec<u64> {
    if list == "/api/users" {
        return USERS.iter().map(|(id, _)| *id).collect();
    }
    let is_in = |said: &Said| match (list, with) {
        ("/api/messages", _) => said.to == 0,
        (_, None) => said.to != 0 && (said.from == READER || said.to == READER),
        (_, Some(with)) => [(READER, with), (with, READER)].contains(&(said.from, said.to)),
    };
    said().filter(is_in).map(|said| said.id).collect()
}

/// The messages, up to the highest id that there can be.
fn said() -> impl Iterator<Item = Said> {
    let last = [Said { id: MAX_ID - 1, from: 2, to: 1 }, Said { id: MAX_ID, from: 2, to: 0 }];
    stage::said().chain(last)
}

/// A page of a list.
struct Page {
    ids: Vec<u64>,
    prev: Option<String>,
    next: String,
}

impl Page {
    fn of(reply: &Reply) -> Page {
        assert_eq!(reply.status, 200);
        let (_, field) = reply.headers.iter().find(|(name, _)| *name == "Link").unwrap();
        let (mut prev, mut next) = (None, None);
        for link in field.split(", ") {
            let (url, rel) = link.strip_prefix('<').unwrap().split_once(">; rel=").unwrap();
            let place = if rel == "\"prev\"" { &mut prev } else { &mut next };
            assert!(place.replace(url.to_owned()).is_none(), "{field}");
        }
        let ids = ids(reply);
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        Page { ids, prev, next: next.unwrap() }
    }
}

fn ids(reply: &Reply) -> Vec<u64> {
    let items: Vec<Value> = serde_json::from_slice(&reply.body).unwrap();
    items.iter().map(|item| item["id"].as_u64().unwrap()).collect()
}

fn get(app: &mut App, target: &str) -> Reply {
    let token = format!("Bearer {}", ISSUED[0]);
    let (_, outcome) =
        app.handle(&Request { authorization: Some(&token), ..stage::request("GET", target) });
    match outcome {
        Outcome::Reply(reply) => reply,
        Outcome::Park(mut wait) => app.give_up(&mut wait),
        Outcome::Offload(_) | Outcome::Stream(_) => unreachable!("no list needs a worker"),
    }
}
