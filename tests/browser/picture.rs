//! The picture of the page in the documentation.

use std::fs;
use std::path::Path;

use crate::browser::{Browser, SIZE};
use crate::reference::Reference;
use crate::server::Server;

const FILE: &str = "docs/reference.png";
/// Every clone of the repository fetches it.
const MAX_BYTES: usize = 300 * 1024;
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Returns whether it is a PNG of the size of the page: the first chunk has the size after its own
/// length.
fn is_picture(bytes: &[u8]) -> bool {
    let header =
        bytes.strip_prefix(SIGNATURE).and_then(|rest| rest.strip_prefix(b"\0\0\0\x0dIHDR"));
    let size = [SIZE.0.to_be_bytes(), SIZE.1.to_be_bytes()].concat();
    header.is_some_and(|header| header.starts_with(&size)) && bytes.ends_with(b"IEND\xaeB`\x82")
}

/// With `VECHE_DOCS=rewrite` it is taken again. It is not compared, because fonts differ between
/// machines.
#[test]
fn the_documentation_has_a_picture_of_the_page() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("VECHE_DOCS").is_some_and(|what| what == "rewrite")
        && let Some(browser) = Browser::open()
    {
        let server = Server::start();
        Reference::open(&browser, &server);
        assert_eq!(browser.evaluate("return window.scrollY"), 0);
        fs::write(&file, browser.picture()).expect("the picture is written");
    }
    let bytes = fs::read(&file).expect("there is a picture");
    assert!(is_picture(&bytes), "{FILE} is no PNG of {SIZE:?}");
    assert!(bytes.len() <= MAX_BYTES, "{FILE} has {} bytes", bytes.len());
}
