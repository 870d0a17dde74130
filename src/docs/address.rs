//! The address of a deployment. It becomes part of shell scripts, so its characters are restricted.

use std::fmt;

/// Longest address, in bytes.
const MAX_BYTES: usize = 1024;

/// `http` or `https`, a host, maybe a port, maybe a path before those of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Without a slash at its end.
    whole: String,
    /// Where the path begins.
    path: usize,
}

impl Address {
    /// Reads an address. The error says what is wrong.
    pub fn parse(url: &str) -> Result<Address, &'static str> {
        let whole = url.strip_suffix('/').unwrap_or(url);
        if whole.len() > MAX_BYTES {
            return Err("it is too long");
        }
        let behind = ["http://", "https://"].iter().find_map(|scheme| whole.strip_prefix(scheme));
        let behind = behind.ok_or("it must begin with http:// or https://")?;
        if behind.contains(['?', '#', '@']) {
            return Err("it may hold no user, no query and no fragment");
        }
        let (authority, path) = behind.split_at(behind.find('/').unwrap_or(behind.len()));
        let (host, port) = split_port(authority);
        if !is_host(host) {
            return Err("the host must be a name or a number");
        }
        if port.is_some_and(|port| !is_port(port)) {
            return Err("the port must be a number from 1 to 65535");
        }
        if !path.is_empty() && !path.split('/').skip(1).all(is_segment) {
            return Err("the path may only hold letters, digits, '_', '.', '-' and single slashes");
        }
        Ok(Address { path: whole.len() - path.len(), whole: whole.to_owned() })
    }

    /// The address, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.whole
    }

    /// A path or an address of this deployment, as a path of the API: without the deployment's
    /// prefix.
    #[must_use]
    pub fn relative<'a>(&self, target: &'a str) -> &'a str {
        let path = &self.whole[self.path..];
        let relative = target.strip_prefix(&self.whole).or_else(|| target.strip_prefix(path));
        relative.filter(|relative| relative.starts_with('/')).unwrap_or(target)
    }
}

/// `true` if a server's link, appended to an address, leads to the same deployment.
#[must_use]
pub fn leads_on(link: &str) -> bool {
    let (path, query) = link.split_once('?').unwrap_or((link, ""));
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"/_.?&=-".contains(&b);
    path.strip_prefix('/').is_some_and(|path| path.split('/').all(is_segment))
        && query.bytes().all(safe)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whole)
    }
}

/// The colons of an IPv6 address stand in brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => {
            (&authority[..colon], Some(&authority[colon + 1..]))
        }
        _ => (authority, None),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').unwrap_or_default();
        return !inner.is_empty()
            && inner.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
    }
    !host.starts_with('-') && is_segment(host)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_segment(segment: &str) -> bool {
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_path() {
        for (url, whole) in [
            ("http://localhost:5000", "http://localhost:5000"),
            ("https://chat.example.org/", "https://chat.example.org"),
            ("http://[::1]:5000/a/b-c/", "http://[::1]:5000/a/b-c"),
            ("http://10.0.0.1", "http://10.0.0.1"),
        ] {
            assert_eq!(Address::parse(url).map(|it| it.whole), Ok(whole.to_owned()));
        }
        let address = Address::parse("https://chat.example/v/").unwrap();
        for target in ["/v/api/users", "https://chat.example/v/api/users", "/api/users"] {
            assert_eq!(address.relative(target), "/api/users");
        }
        assert_eq!(address.relative("/vapi"), "/vapi");
    }

    #[test]
    fn a_link_is_a_path_and_a_query() {
        for link in ["/x", "/api/messages?after=-1&limit=2&epoch=5eed0000c4a70001", "/a.b/c?"] {
            assert!(leads_on(link), "{link}");
        }
        for link in [
            "",
            "/",
            "x",
            "?x",
            "//other",
            "/a//b",
            "/../b",
            "/a/.",
            "@other/x",
            ":80/x",
            ".other/x",
            "http://other/x",
            "/x@y",
            "/x#y",
            "/x[1-3]",
            "/{x,y}",
            "/x?y=[1-3]",
            "/x?y={1,2}",
            "/x y",
            "/x?y=%41",
            "/x\ny",
            "/x?y\n",
            "/x\\y",
            "/ä",
        ] {
            assert!(!leads_on(link), "{link}");
        }
    }

    #[test]
    fn nothing_else_is_one() {
        for url in [
            "",
            "localhost:5000",
            "ftp://localhost",
            "http://",
            "http:///x",
            "http://-x",
            "http://a b",
            "http://a$(rm)",
            "http://a'b",
            "http://a\nb",
            "http://a;b",
            "http://a:0",
            "http://a:65536",
            "http://a:",
            "http://a:+1",
            "http://me@a",
            "http://a?b",
            "http://a/#b",
            "http://a/b//c",
            "http://a/b//",
            "http://a/../b",
            "http://a/%41",
            "http://a/~b",
            "http://[::1",
            "http://[]",
            "http://[x]",
            "http://ä",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
        assert!(Address::parse(&format!("http://{}", "a".repeat(1024))).is_err());
    }
}
