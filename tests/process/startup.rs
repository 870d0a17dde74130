//! The operator's command lines, and their effects.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::json;

use crate::admin::figure;
use crate::client::{Client, PASSWORD, credentials};
use crate::server::{PATIENCE, STORES, Server, run, veche};

/// Every flag but `--help` and `--version`.
const FLAGS: &[&str] = &[
    "listen",
    "store",
    "data-dir",
    "token-ttl",
    "jwt-secret-file",
    "min-password-length",
    "operator",
    "registration",
    "cors-origin",
    "min-free-space",
    "idle-timeout",
    "admin-listen",
    "access-log",
    "login-limit",
    "registration-limit",
    "message-limit",
    "trust-proxy",
    "log",
    "import",
    "restore",
];

#[test]
fn the_first_and_only_line_is_the_address() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        assert_ne!(server.addr().port(), 0);
        assert!(server.printed_addr().ip().is_loopback());
        assert_eq!(Client::new(&server).get("/api/users/me").status, 401);
        server.signal(rustix::process::Signal::TERM);
        assert_eq!(server.wait(), (Some(0), String::new()), "nothing behind the address");
    }
}

#[test]
fn the_log_says_which_store_and_where() {
    for (store, said) in
        [("memory", "store: memory".to_owned()), ("sled", "store: sled".to_owned())]
    {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        let log = server.log();
        let line = log.lines().find(|line| line.contains(&said)).unwrap_or_else(|| panic!("{log}"));
        let place = dir.path().join("data");
        assert_eq!(line.contains(place.to_str().unwrap()), store == "sled", "{line}");
        assert_eq!(place.exists(), store == "sled", "the memory store touches no disk");
    }
}

#[test]
fn help_names_every_flag_and_its_variable() {
    let help = run(veche().arg("--help"));
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).unwrap();
    let mut named: Vec<&str> = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--")?.split([' ', '=']).next())
        .collect();
    named.sort_unstable();
    let mut flags = FLAGS.to_vec();
    flags.sort_unstable();
    assert_eq!(named, flags, "the flags of --help, each on a line of its own");
    // Lines are wrapped to the terminal's width.
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for flag in FLAGS {
        let variable = format!("[env: VECHE_{}]", flag.to_uppercase().replace('-', "_"));
        assert!(words.contains(&variable), "{variable} is not in {help}");
    }
    for default in ["127.0.0.1:5000", "sled", "./veche-data", "3600", "3", "67108864"] {
        assert!(words.contains(&format!("[default: {default}]")), "{default} is not in {help}");
    }
}

/// A build must be identifiable wherever it came from.
#[test]
fn the_version_says_what_the_build_is() {
    let said = |flag| String::from_utf8(run(veche().arg(flag)).stdout).unwrap();
    let package = format!("veche {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(said("-V"), package);
    let version = said("--version");
    let rest = version.strip_prefix(&package).unwrap_or_else(|| panic!("{version}"));
    let lines: Vec<&str> = rest.lines().collect();
    let [commit, formats] = lines[..] else { panic!("{version}") };
    let commit = commit.strip_prefix("commit: ").unwrap();
    let hash = commit.strip_suffix(" with changes").unwrap_or(commit);
    let is_hash = hash.len() >= 40 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(is_hash || commit == "unknown", "{commit}");
    let formats: Vec<&str> = formats.strip_prefix("reads: ").unwrap().split(", ").collect();
    let names = ["log ", "index ", "backup ", "export 1 to "];
    assert_eq!(formats.len(), names.len(), "{formats:?}");
    for (format, name) in formats.iter().zip(names) {
        let number = format.strip_prefix(name).unwrap_or_else(|| panic!("{format}"));
        assert!(number.parse::<u32>().is_ok(), "{format}");
    }
}

/// Many files that set variables have no other way to unset one.
#[test]
fn a_variable_that_is_empty_is_not_set() {
    let variable = |flag: &str| format!("VECHE_{}", flag.to_uppercase().replace('-', "_"));
    // Each alone, so that a failure names the flag.
    for flag in FLAGS {
        let dir = tempfile::tempdir().unwrap();
        let mut command = veche();
        command.current_dir(dir.path()).env(variable(flag), "").args(["compact"]);
        let output = run(&mut command);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{flag}: {stderr}");
        assert!(stderr.contains("./veche-data"), "the default holds: {flag}: {stderr}");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = veche();
    for flag in FLAGS.iter().filter(|flag| **flag != "listen") {
        command.env(variable(flag), "");
    }
    command.current_dir(dir.path()).env("VECHE_LISTEN", "127.0.0.1:0");
    let server = Server::spawn(&mut command, dir.path());
    assert!(server.log().contains("store: sled, in ./veche-data"), "{}", server.log());
    let ann = Client::signed_up(&server, "ann");
    assert_eq!(ann.get("/api/blocks").problem(), "not-an-operator");
    // A flag has the value it is given, even an empty one.
    let empty = run(veche().args(["--listen", ""]));
    assert_eq!(empty.status.code(), Some(2));
}

/// The address it listens on, and its warnings.
#[test]
fn an_address_can_be_a_name_or_all_there_are() {
    const EXPOSED: &str = "listening beyond this machine";
    const ALL_EXPOSED: &str = "listening for the operator beyond this machine";
    for (listen, is_exposed) in [
        ("localhost:0", false),
        (":0", true),
        ("0.0.0.0:0", true),
        ("[::]:0", true),
        ("[::1]:0", false),
        ("127.0.0.1:0", false),
    ] {
        let is_v6 = listen.starts_with('[');
        if is_v6 && TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            println!("skipped: {listen}: this machine has no IPv6");
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let args = ["--listen", listen, "--admin-listen", listen, "--store", "memory"];
        let server = Server::spawn(veche().args(args), dir.path());
        let printed = server.printed_addr();
        assert_eq!(printed.ip().is_loopback(), !is_exposed, "{listen}: {printed}");
        let admin = server.admin_addr();
        // The server sends itself requests as well, or it would not be ready.
        let mut peers = vec![printed.ip()];
        if printed.ip().is_unspecified() {
            peers = vec![Ipv4Addr::LOCALHOST.into()];
            if printed.is_ipv6() {
                peers.push(Ipv6Addr::LOCALHOST.into());
            }
        }
        for (number, ip) in peers.into_iter().enumerate() {
            let client = Client::at(SocketAddr::new(ip, printed.port()));
            let client = client.sign_up(&format!("u{number}"));
            // A body that a worker reads, a wait, and a stream, which is found by its peer.
            let id = client.say(&"x".repeat(4000));
            let page = client.get(&format!("/api/messages?after={id}&wait=1"));
            assert_eq!((page.status, page.ids().len()), (200, 0), "{listen} at {ip}");
            let mut stream = TcpStream::connect((ip, printed.port())).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let head = "GET /api/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream";
            write!(stream, "{head}\r\nAuthorization: Bearer {}\r\n\r\n", client.token()).unwrap();
            let mut lines = BufReader::new(stream).lines();
            assert!(lines.any(|line| line.unwrap().starts_with("id: ")), "{listen} at {ip}");
            let operator = SocketAddr::new(ip, admin.port());
            assert!(figure(operator, "veche_accounts").is_some(), "{listen} at {ip}");
        }
        let log = server.log();
        assert_eq!(log.contains(EXPOSED), is_exposed, "{listen}: {log}");
        assert_eq!(log.contains(ALL_EXPOSED), is_exposed, "{listen}: {log}");
    }
    let output = run(veche().args(["--store", "memory", "--listen", "nobody.invalid:0"]));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot listen on nobody.invalid:0: "), "{stderr}");
}

#[test]
fn variables_stand_for_flags_and_flags_win() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, [7; 32]).unwrap();
    let mut command = veche();
    command
        .env("VECHE_LISTEN", "127.0.0.1:0")
        .env("VECHE_STORE", "memory")
        .env("VECHE_DATA_DIR", dir.path().join("elsewhere"))
        .env("VECHE_TOKEN_TTL", "7")
        .env("VECHE_JWT_SECRET_FILE", &secret)
        .env("VECHE_MIN_PASSWORD_LENGTH", "9")
        .env("VECHE_CORS_ORIGIN", "http://a.example,http://b.example:8080")
        .env("VECHE_LOG", "warn");
    let server = Server::spawn(&mut command, dir.path());
    let client = Client::new(&server);
    let short = client.post("/register", &credentials("ann", "12345678"));
    assert_eq!((short.status, &short.json()["field"]), (422, &json!("password")), "{short:?}");
    assert_eq!(client.post("/register", &credentials("ann", PASSWORD)).status, 201);
    let login = client.post("/login", &credentials("ann", PASSWORD));
    assert_eq!(login.json()["expires_in"], 7);
    let vary = client.get("/problems").header("Vary").map(str::to_owned);
    assert_eq!(vary.as_deref(), Some("Origin"), "there are origins that are allowed");
    let log = server.log();
    assert!(!log.contains("store:"), "{log}");
    assert!(log.contains(secret.to_str().unwrap()), "others can read it: {log}");
    drop(server);

    command.args(["--token-ttl", "8", "--store", "sled", "--log", "info"]);
    let server = Server::spawn(&mut command, dir.path());
    let client = Client::new(&server);
    assert_eq!(client.post("/register", &credentials("ann", PASSWORD)).status, 201);
    assert_eq!(client.post("/login", &credentials("ann", PASSWORD)).json()["expires_in"], 8);
    assert!(server.log().contains("elsewhere"), "{}", server.log());
    assert!(!dir.path().join("elsewhere/jwt-secret").exists(), "a given secret is enough");
}

#[test]
fn short_passwords_beyond_this_machine_are_warned_of() {
    for (listen, length, warned) in [
        ("127.0.0.1:0", "3", false),
        ("0.0.0.0:0", "3", true),
        ("0.0.0.0:0", "7", true),
        ("0.0.0.0:0", "8", false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = veche();
        command.args(["--store", "memory", "--listen", listen, "--min-password-length", length]);
        let server = Server::spawn(&mut command, dir.path());
        assert_eq!(server.printed_addr().ip().is_unspecified(), listen.starts_with("0.0.0.0"));
        assert_eq!(Client::new(&server).get("/api/messages").status, 401);
        let log = server.log();
        let warning = log.lines().find(|line| line.contains("WARN"));
        assert_eq!(warning.is_some(), warned, "{listen} {length}: {log}");
        let named = warning.is_none_or(|line| line.contains("--min-password-length"));
        assert!(named, "{log}");
    }
}

#[test]
fn a_data_directory_is_made_with_all_above_it() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b/c");
    let mut command = veche();
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(&deep);
    let server = Server::spawn(&mut command, dir.path());
    Client::signed_up(&server, "ann").say("hello");
    server.stop();
    assert!(deep.join("log").is_dir());
}

/// One clear line on standard error, nothing on standard output, exit code 1.
#[test]
fn a_server_that_cannot_start_says_so_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).into_os_string().into_string().unwrap();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let running = Server::start("sled", dir.path());
    fs::write(at("file"), "no directory").unwrap();
    fs::write(at("short"), [7; 31]).unwrap();
    fs::write(at("long"), [7; 4097]).unwrap();
    fs::write(at("export"), "no export\n").unwrap();
    damage(&at("damaged"));
    newer(&at("newer"));

    let secret =
        |file: &str| vec!["--store".into(), "memory".into(), flag("jwt-secret-file", &at(file))];
    let data = |place: &str| vec![flag("data-dir", place)];
    let import =
        |place: &str, file: &str| vec![flag("data-dir", &at(place)), flag("import", &at(file))];
    let cases: Vec<(&str, Vec<String>, Vec<String>)> = vec![
        ("a port in use", vec![flag("listen", &taken), flag("data-dir", &at("new"))], vec![taken]),
        (
            "our own port in use",
            vec![flag("listen", &running.addr().to_string()), flag("data-dir", &at("new"))],
            vec![running.addr().to_string()],
        ),
        ("an address of elsewhere", vec![flag("listen", "192.0.2.1:0")], vec!["192.0.2.1".into()]),
        ("a directory in use", data(&at("data")), vec![at("data"), "in use".into()]),
        ("no directory", data(&at("file")), vec![at("file")]),
        ("a file above the directory", data(&at("file/data")), vec![at("file")]),
        ("nowhere", data("/proc/veche"), vec!["/proc/veche".into()]),
        ("no secret", secret("nothing"), vec![at("nothing")]),
        ("an unreadable secret", secret("."), vec![at(".")]),
        ("a short secret", secret("short"), vec![at("short"), "31".into(), "32".into()]),
        ("a long secret", secret("long"), vec![at("long"), "4097".into(), "4096".into()]),
        (
            "a damaged log",
            data(&at("damaged")),
            vec![at("damaged"), ".log".into(), "offset".into()],
        ),
        ("a newer store", data(&at("newer")), vec![at("newer"), "newer".into()]),
        ("nothing to import", import("none", "nothing"), vec![at("nothing")]),
        ("no export", import("none", "export"), vec!["line 1".into()]),
    ];
    for (what, args, named) in cases {
        let listen = args.iter().any(|arg| arg.starts_with("--listen"));
        let mut command = veche();
        command.args((!listen).then_some("--listen=127.0.0.1:0")).arg("--log=error").args(args);
        let output = run(&mut command);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{what}: {stderr}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{what}");
        assert_eq!(stderr.lines().count(), 1, "{what}: {stderr}");
        assert!(stderr.starts_with("veche: "), "{what}: {stderr}");
        for name in named {
            assert!(stderr.contains(&name), "{what}: {name:?} is not in {stderr}");
        }
    }
    assert_eq!(Client::new(&running).get("/api/messages").status, 401, "nobody minds");
}

fn flag(name: &str, value: &str) -> String {
    format!("--{name}={value}")
}

/// A store whose log has a wrong byte in its first record, with others after it.
fn damage(place: &str) {
    fill(Path::new(place));
    let log = fs::read_dir(format!("{place}/log")).unwrap().next().unwrap().unwrap().path();
    let file = File::options().read(true).write(true).open(log).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 80).unwrap();
    file.write_all_at(&[!byte[0]], 80).unwrap();
    fs::remove_dir_all(format!("{place}/index")).unwrap();
}

/// A store whose log claims to be from a later version of veche.
fn newer(place: &str) {
    fill(Path::new(place));
    let log = fs::read_dir(format!("{place}/log")).unwrap().next().unwrap().unwrap().path();
    File::options().write(true).open(log).unwrap().write_all_at(&99_u32.to_le_bytes(), 8).unwrap();
}

fn fill(place: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("sled", dir.path());
    let client = Client::signed_up(&server, "ann");
    for n in 0..5 {
        client.say(&format!("message {n}"));
    }
    server.stop();
    fs::rename(dir.path().join("data"), place).unwrap();
}

/// clap's own errors: usage on standard error, exit code 2.
#[test]
fn invalid_flags_are_refused() {
    let cases = [
        ("--listen", "5000"),
        ("--listen", "localhost"),
        ("--listen", "127.0.0.1:65536"),
        ("--listen", "http://localhost:5000"),
        ("--listen", "::1:5000"),
        ("--admin-listen", "5001"),
        ("--store", "postgres"),
        ("--store", ""),
        ("--token-ttl", "0"),
        ("--token-ttl", "-1"),
        ("--token-ttl", "31536001"),
        ("--token-ttl", "1h"),
        ("--min-password-length", "0"),
        ("--min-password-length", "257"),
        ("--min-password-length", "x"),
        ("--cors-origin", ""),
        ("--cors-origin", "null"),
        ("--cors-origin", "chat.example.org"),
        ("--cors-origin", "https://chat.example.org/"),
        ("--login-limit", "10"),
        ("--login-limit", "0/m"),
        ("--registration-limit", "5/w"),
        ("--registration-limit", "none"),
        ("--message-limit", "60 a minute"),
        ("--message-limit", "-1/m"),
        ("--trust-proxy", "nginx"),
        ("--trust-proxy", "127.0.0.1/33"),
        ("--trust-proxy", "10.0.0.1/8"),
        ("--log", "loud"),
        ("--no-such-flag", "1"),
        ("serve", "now"),
    ];
    for (name, value) in cases {
        let mut command = veche();
        if name.starts_with('-') {
            command.arg(format!("{name}={value}"));
        } else {
            command.args([name, value]);
        }
        let output = run(&mut command);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name} {value}: {stderr}");
        assert!(stderr.contains(name) && !stderr.contains("panicked"), "{name} {value}: {stderr}");
        let is_set = |flag: &&str| FLAGS.contains(flag) && !value.is_empty();
        if let Some(flag) = name.strip_prefix("--").filter(is_set) {
            let variable = format!("VECHE_{}", flag.to_uppercase().replace('-', "_"));
            let output = run(veche().env(&variable, value));
            assert_eq!(output.status.code(), Some(2), "{variable}={value}");
        }
    }
}

#[test]
fn the_levels_of_the_log_are_named() {
    let output = run(veche().args(["--log", "loud"]));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let levels = "[possible values: off, error, warn, info, debug, trace]";
    assert!(stderr.contains(levels), "{stderr}");
    // The command accepts the level, and then fails for another reason.
    for level in ["WARN", "trace"] {
        let output = run(veche().args(["--log", level, "--data-dir", "/dev/null", "check"]));
        assert_eq!(output.status.code(), Some(1), "{level}: it is understood");
    }
}
