//! The pages that a problem's type leads to.

use veche::problem::KINDS;

use crate::browser::Browser;
use crate::server::Server;

#[test]
fn every_kind_of_problem_has_its_page() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let list = server.url("/problems");
    for kind in KINDS {
        browser.go_to(&list);
        assert_eq!(browser.text("h1"), "Problems");
        // By its link, as a user would.
        browser.click(&format!("a[href$='/{}']", kind.slug));
        let page = server.url(&format!("/problems/{}", kind.slug));
        browser
            .wait_for(&format!("location.href === {page:?} && document.readyState === 'complete'"));
        assert_eq!(browser.text("h1"), kind.title);
        let text = browser.text("body");
        for part in [kind.meaning, kind.advice] {
            assert!(text.contains(&part.replace('`', "")), "{part}\n{text}");
        }
        assert!(text.contains(&kind.status.to_string()), "{text}");
        browser.click("a");
        browser
            .wait_for(&format!("location.href === {list:?} && document.readyState === 'complete'"));
    }
    assert_eq!(browser.text("li").lines().count(), KINDS.len());
    assert_eq!(browser.errors(), [] as [String; 0]);
    for request in browser.requests() {
        assert_eq!(request.url.origin().ascii_serialization(), server.origin(), "{request:?}");
    }
}
