//! Checks that the pages show everything, and nothing else.

use veche::api::routes::{self, Match, ROUTES};
use veche::problem::KINDS;

use crate::session::RecordedExchange;

/// Statuses that no client can cause, and one example shows for all routes: an internal error, a
/// full queue, a full disk.
const FAULTS: [u16; 3] = [500, 503, 507];
/// The request that a browser may send to any path, on behalf of a page of another origin.
const PREFLIGHT: (&str, u16) = ("OPTIONS", 204);

/// A complaint for each example that is missing, and for each that should not be there.
pub(crate) fn complaints(exchanges: &[&RecordedExchange]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut shown = Vec::new();
    for exchange in exchanges {
        let RecordedExchange { name, method, path, .. } = exchange;
        let status = exchange.status();
        let expected = match routes::find(method, path) {
            Match::Route(route, _) => {
                shown.push((route.method, route.path, status));
                route.operation.statuses().contains(&status) || FAULTS.contains(&status)
            }
            Match::OtherMethods(_) => status == 405 || (method.as_str(), status) == PREFLIGHT,
            Match::Nothing => status == 404,
        };
        if !expected {
            complaints.push(format!("{name}: {method} {path} should not answer {status}"));
        }
    }
    for route in ROUTES {
        for status in route.operation.statuses() {
            let in_its_place = shown.contains(&(route.method, route.path, status));
            if !in_its_place && !FAULTS.contains(&status) {
                let (method, path) = (route.method, route.path);
                complaints.push(format!("no example of {method} {path} answering {status}"));
            }
        }
    }
    for kind in KINDS {
        let body = format!("{{\"type\":\"/problems/{}\",", kind.slug);
        if !exchanges.iter().any(|exchange| exchange.response.contains(&body)) {
            complaints.push(format!("no example of the problem '{}'", kind.slug));
        }
    }
    for status in FAULTS {
        let times = exchanges.iter().filter(|exchange| exchange.status() == status).count();
        if times != 1 {
            complaints.push(format!("{times} examples of {status}, which should be shown once"));
        }
    }
    complaints
}
