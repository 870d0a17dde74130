//! The front as shipped: over TLS, with both versions of HTTP.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::front::{Front, Limits, Nginx};
use crate::server::{PATIENCE, Server, run_within};

/// curl's data on an answer, written after its body.
const SAID: &str = "\n%{http_version} %{http_code} %{content_type}";

/// The body and curl's data on it.
fn curl(args: &[&str]) -> (String, String) {
    let mut command = Command::new("curl");
    // Without the user's own configuration.
    command.args(["--disable", "--silent", "--show-error", "--insecure", "--noproxy", "*"]);
    command.args(["--write-out", SAID]).args(args).stdin(Stdio::null());
    let output = run_within(&mut command, PATIENCE);
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{args:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    let (body, said) = said.rsplit_once('\n').expect("a last line");
    (body.to_owned(), said.to_owned())
}

fn set(dir: &Path) -> Option<(Front, Server)> {
    let nginx = Nginx::find()?;
    let server = Server::start("memory", dir);
    let front = Front::start(&nginx, server.addr(), dir, Limits::Shipped);
    Some((front, server))
}

#[test]
fn a_chat_over_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let Some((front, _server)) = set(dir.path()) else { return };
    let url = |path: &str| format!("https://{}{path}", front.tls());
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let credentials =
            format!(r#"{{"username":"user-{}","password":"correct horse"}}"#, version.len());
        let json = |status: u16| format!("{version} {status} application/json");
        let registered = curl(&[flag, "--data", &credentials, &url("/register")]);
        assert_eq!(registered.1, json(201), "{registered:?}");
        let (token, said) = curl(&[flag, "--data", &credentials, &url("/login")]);
        assert_eq!(said, json(200), "{token}");
        let token: serde_json::Value = serde_json::from_str(&token).unwrap();
        let bearer = format!("Authorization: Bearer {}", token["token"].as_str().unwrap());
        let text = format!("over {version}");
        let message = format!(r#"{{"text":"{text}"}}"#);
        let posted = curl(&[flag, "-H", &bearer, "--data", &message, &url("/api/messages")]);
        assert_eq!(posted.1, json(201), "{posted:?}");
        let (page, said) = curl(&[flag, "-H", &bearer, &url("/api/messages?limit=100")]);
        assert_eq!(said, json(200));
        assert!(page.contains(&text), "{page}");
        // The front's own errors are problem documents too.
        let large = format!("@{}", dir.path().join("large").display());
        std::fs::write(dir.path().join("large"), vec![b'x'; 40_000]).unwrap();
        let (refused, said) = curl(&[flag, "--data-binary", &large, &url("/login")]);
        assert_eq!(said, format!("{version} 413 application/problem+json"), "{refused}");
        assert!(refused.contains("/problems/body-too-large"), "{refused}");
    }
    // Over HTTP/2 nginx ends the connection in this case.
    let long = format!("X: {}", "y".repeat(20_000));
    let (refused, said) = curl(&["--http1.1", "-H", &long, &url("/")]);
    assert_eq!(said, "1.1 431 application/problem+json", "{refused}");
}

#[test]
fn a_client_without_tls_is_redirected() {
    let dir = tempfile::tempdir().unwrap();
    let Some((front, _server)) = set(dir.path()) else { return };
    let url = format!("http://{}/api/messages?limit=1", front.redirecting());
    let (head, said) = curl(&["--head", "-H", "Host: chat.example.org", &url]);
    assert!(said.starts_with("1.1 308 "), "{said}");
    let location = "Location: https://chat.example.org/api/messages?limit=1\r\n";
    assert!(head.contains(location), "{head}");
    assert!(head.contains("Server: nginx\r\n"), "no version: {head}");
}

#[test]
fn a_client_over_ipv6() {
    let dir = tempfile::tempdir().unwrap();
    let Some((front, _server)) = set(dir.path()) else { return };
    let Some([tls, redirecting]) = front.v6() else { return };
    let (_, said) = curl(&[&format!("http://{redirecting}/")]);
    assert!(said.starts_with("1.1 308 "), "{said}");
    let codes: Vec<String> =
        (0..30).map(|_| curl(&["--data", "{}", &format!("https://{tls}/login")]).1).collect();
    let refused = "2 429 application/problem+json";
    assert_eq!(codes[0], "2 422 application/problem+json");
    assert!(codes.iter().any(|code| code == refused), "an address has a limit: {codes:?}");
}

/// A front whose server is gone answers with a problem document as well.
#[test]
fn a_server_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let Some((front, server)) = set(dir.path()) else { return };
    server.stop();
    let (gone, said) = curl(&[&format!("https://{}/api/messages", front.tls())]);
    assert!(said.ends_with(" 502 application/problem+json"), "{said}: {gone}");
}
