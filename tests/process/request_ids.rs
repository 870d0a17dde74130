//! Ids of requests.

use std::collections::BTreeSet;

use crate::server::Server;
use crate::wire::Wire;

const FIELD: &str = "X-Request-Id";

#[test]
fn a_requests_own_id_comes_back_if_it_is_fit() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let mut wire = Wire::connect(server.addr());
    let mut ask = |fields: &str| {
        wire.send(format!("GET /problems/forbidden HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        let answer = wire.answer();
        assert_eq!(answer.status, 200);
        answer.header(FIELD).expect("an id").to_owned()
    };
    let longest = "x".repeat(128);
    for given in ["a", "7f3b:1/2+3=", &longest] {
        assert_eq!(ask(&format!("x-request-id: {given}\r\n")), given);
    }
    let mut own = BTreeSet::new();
    for unfit in [
        String::new(),
        "X-Request-Id: \r\n".to_owned(),
        "X-Request-Id: a b\r\n".to_owned(),
        "X-Request-Id: \"a\"\r\n".to_owned(),
        format!("X-Request-Id: {longest}x\r\n"),
        "X-Request-Id: one\r\nX-Request-Id: two\r\n".to_owned(),
    ] {
        let id = ask(&unfit);
        assert_eq!(id.len(), 18, "{unfit:?}: {id}");
        assert!(own.insert(id), "{unfit:?}: an id came twice");
    }
    server.stop();
}
