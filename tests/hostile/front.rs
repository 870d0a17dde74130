//! nginx, with `deploy/nginx.conf` as it is shipped but for what a test has to have for itself.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::server::until;

/// What is shipped.
const SHIPPED: &str = include_str!("../../deploy/nginx.conf");
/// How long it may take to start and to stop.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often other ports are tried, should somebody else have taken the free ones.
const ATTEMPTS: usize = 5;

/// The programs, where they are installed.
pub(crate) struct Nginx {
    nginx: PathBuf,
    openssl: PathBuf,
}

/// How much one address may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limits {
    /// As they are shipped.
    Shipped,
    /// More than any test asks for: everybody here has one and the same address.
    Raised,
}

/// A running one, ended when it is let go.
pub(crate) struct Front {
    child: Child,
    ports: [u16; 3],
    /// Whether it listens on the IPv6 loopback address too.
    has_v6: bool,
    log: PathBuf,
}

impl Nginx {
    /// Without them there is nothing to test, which is said once. CI has to have them.
    pub(crate) fn find() -> Option<Nginx> {
        static NOTICE: Once = Once::new();
        if let (Some(nginx), Some(openssl)) = (which("nginx"), which("openssl")) {
            return Some(Nginx { nginx, openssl });
        }
        assert!(std::env::var_os("CI").is_none(), "CI needs nginx and openssl");
        NOTICE.call_once(|| {
            // Not by a macro: those are kept for when a test fails.
            let notice = "\nNOT TESTED behind nginx: there is no `nginx` and `openssl` here \
                          (Debian: nginx, openssl)\n";
            let _ = io::stderr().write_all(notice.as_bytes());
        });
        None
    }
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian has servers where only root looks for them.
    let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    dirs.map(|dir| dir.join(program)).find(|file| file.is_file())
}

impl Front {
    /// Starts one before `upstream`, with everything it keeps below `dir`.
    pub(crate) fn start(nginx: &Nginx, upstream: SocketAddr, dir: &Path, limits: Limits) -> Front {
        let dir = dir.join("nginx");
        fs::create_dir_all(&dir).expect("a directory");
        nginx.certify(&dir);
        for _ in 0..ATTEMPTS {
            let ports = free_ports();
            let has_v6 = TcpListener::bind(at_v6(0)).is_ok();
            fs::write(dir.join("nginx.conf"), adapted(&dir, ports, has_v6, upstream, limits))
                .expect("a configuration");
            if let Some(front) = nginx.spawn(&dir, ports, has_v6) {
                return front;
            }
        }
        let log = fs::read_to_string(dir.join("error.log")).unwrap_or_default();
        panic!("nginx does not start:\n{log}");
    }

    /// Where it takes plain HTTP, with which a test can say anything to the same parser.
    pub(crate) fn plain(&self) -> SocketAddr {
        at(self.ports[0])
    }

    /// Where it takes TLS.
    pub(crate) fn tls(&self) -> SocketAddr {
        at(self.ports[1])
    }

    /// Where it takes plain HTTP as it is shipped: to send the client on.
    pub(crate) fn redirecting(&self) -> SocketAddr {
        at(self.ports[2])
    }

    /// The IPv6 addresses of [`Front::tls`] and [`Front::redirecting`], where there is IPv6.
    pub(crate) fn v6(&self) -> Option<[SocketAddr; 2]> {
        self.has_v6.then(|| [at_v6(self.ports[1]), at_v6(self.ports[2])])
    }
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn at_v6(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::LOCALHOST, port))
}

impl Nginx {
    /// A certificate that nobody trusts.
    fn certify(&self, dir: &Path) {
        let mut command = Command::new(&self.openssl);
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"]);
        command.arg(dir.join("veche.key")).arg("-out").arg(dir.join("veche.crt"));
        let made = command.stdin(Stdio::null()).output().expect("openssl starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// `None` if it does not start.
    fn spawn(&self, dir: &Path, ports: [u16; 3], has_v6: bool) -> Option<Front> {
        let log = dir.join("error.log");
        let stderr = File::options().create(true).append(true).open(&log).expect("a log file");
        let child = Command::new(&self.nginx)
            .arg("-p")
            .arg(dir)
            .arg("-e")
            .arg(&log)
            .arg("-c")
            .arg(dir.join("nginx.conf"))
            .args(["-g", "daemon off;"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .expect("nginx starts");
        // From here on it is ended whatever happens.
        let mut front = Front { child, ports, has_v6, log };
        let started = until(PATIENCE, || {
            if front.child.try_wait().expect("a child can be asked").is_some() {
                return Some(false);
            }
            // Its ports are open before its workers run; they wait in the queue then.
            TcpStream::connect(front.plain()).is_ok().then_some(true)
        });
        (started == Some(true)).then_some(front)
    }
}

/// The shipped file with what a test has to have for itself.
fn adapted(
    dir: &Path,
    ports: [u16; 3],
    has_v6: bool,
    upstream: SocketAddr,
    limits: Limits,
) -> String {
    let [plain, tls, redirecting] = ports.map(at);
    let [_, tls_v6, redirecting_v6] = ports.map(at_v6);
    let v6 = |line: String| if has_v6 { line } else { String::new() };
    let dir = dir.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("    {what}_temp_path {dir}/{what};\n"))
        .concat();
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    let mut replacements = vec![
        ("user www-data;", user.to_owned()),
        ("pid /run/nginx.pid;", format!("pid {dir}/nginx.pid;")),
        ("error_log /var/log/nginx/error.log warn;", format!("error_log {dir}/error.log warn;")),
        ("access_log /var/log/nginx/access.log", format!("access_log {dir}/access.log")),
        ("http {\n", format!("http {{\n{temporary}")),
        ("server 127.0.0.1:5000", format!("server {upstream}")),
        ("listen 80;", format!("listen {redirecting};")),
        ("listen [::]:80;", v6(format!("listen {redirecting_v6};"))),
        ("listen [::]:443 ssl http2;", v6(format!("listen {tls_v6} ssl http2;"))),
        ("listen 443 ssl http2;", format!("listen {tls} ssl http2; listen {plain};")),
        ("/etc/nginx/veche.crt", format!("{dir}/veche.crt")),
        ("/etc/nginx/veche.key", format!("{dir}/veche.key")),
    ];
    if limits == Limits::Raised {
        replacements.extend([
            ("limit_conn addresses 128;", "limit_conn addresses 60000;".to_owned()),
            ("rate=100r/s;", "rate=100000r/s;".to_owned()),
            ("rate=1r/s;", "rate=100000r/s;".to_owned()),
            (" burst=200 ", " burst=100000 ".to_owned()),
            (" burst=20 ", " burst=100000 ".to_owned()),
        ]);
    }
    let mut adapted = SHIPPED.to_owned();
    for (shipped, own) in replacements {
        assert!(adapted.contains(shipped), "{shipped:?} is not in deploy/nginx.conf");
        adapted = adapted.replace(shipped, &own);
    }
    adapted
}

/// Ports that nobody listens on for now.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
    listeners.each_ref().map(|it| it.local_addr().expect("it is bound").port())
}

impl Drop for Front {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        // The master ends its workers; should it not, the group goes.
        let _ = kill_process(pid, Signal::TERM);
        let ended = until(PATIENCE, || self.child.try_wait().ok().flatten());
        if ended.is_none() {
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = self.child.wait();
        }
        if thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let tail = log.lines().rev().take(40).collect::<Vec<_>>();
            eprintln!("--- the end of nginx's log, the last line first:\n{}", tail.join("\n"));
        }
    }
}
