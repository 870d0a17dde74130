//! nginx, with `deploy/nginx.conf` as it is shipped, except for what a test needs for itself.

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

/// The shipped file.
const SHIPPED: &str = include_str!("../../deploy/nginx.conf");
/// The longest time that a start and a stop may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Attempts with other ports, if another process has taken the free ones.
const ATTEMPTS: usize = 5;

/// The programs, if they are installed.
pub(crate) struct Nginx {
    nginx: PathBuf,
    openssl: PathBuf,
}

/// The limits for one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limits {
    /// The shipped limits.
    Shipped,
    /// More than any test needs: all clients here have the same address.
    Raised,
}

/// A running nginx, ended on drop.
pub(crate) struct Front {
    child: Child,
    ports: [u16; 3],
    /// True if it listens on the IPv6 loopback address too.
    has_v6: bool,
    log: PathBuf,
}

impl Nginx {
    /// Finds the programs. Without them there is nothing to test, and a notice says so once. CI
    /// must have them.
    pub(crate) fn find() -> Option<Nginx> {
        static NOTICE: Once = Once::new();
        if let (Some(nginx), Some(openssl)) = (which("nginx"), which("openssl")) {
            return Some(Nginx { nginx, openssl });
        }
        assert!(std::env::var_os("CI").is_none(), "CI needs nginx and openssl");
        NOTICE.call_once(|| {
            // Not printed by a macro: the test harness shows that output only when a test fails.
            let notice = "\nNOT TESTED behind nginx: there is no `nginx` and `openssl` here \
                          (Debian: nginx, openssl)\n";
            let _ = io::stderr().write_all(notice.as_bytes());
        });
        None
    }
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian installs servers where only root looks for them.
    let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    dirs.map(|dir| dir.join(program)).find(|file| file.is_file())
}

impl Front {
    /// Starts nginx before `upstream`, with all its files below `dir`.
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

    /// The address for plain HTTP, through which a test can send any bytes to the same parser.
    pub(crate) fn plain(&self) -> SocketAddr {
        at(self.ports[0])
    }

    /// The address for TLS.
    pub(crate) fn tls(&self) -> SocketAddr {
        at(self.ports[1])
    }

    /// The address for plain HTTP as shipped, which redirects clients.
    pub(crate) fn redirecting(&self) -> SocketAddr {
        at(self.ports[2])
    }

    /// The IPv6 addresses of [`Front::tls`] and [`Front::redirecting`], if there is IPv6.
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
    /// Creates a self-signed certificate.
    fn certify(&self, dir: &Path) {
        let mut command = Command::new(&self.openssl);
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"]);
        command.arg(dir.join("veche.key")).arg("-out").arg(dir.join("veche.crt"));
        let made = command.stdin(Stdio::null()).output().expect("openssl starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// `None` if nginx does not start.
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
            // Its ports are open before its workers run; connections wait in the queue then.
            TcpStream::connect(front.plain()).is_ok().then_some(true)
        });
        (started == Some(true)).then_some(front)
    }
}

/// The shipped file, adapted to the ports and paths of a test.
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

/// Ports on which nothing listens now.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
    listeners.each_ref().map(|it| it.local_addr().expect("it is bound").port())
}

impl Drop for Front {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        // The master ends its workers; if it does not, the process group is killed.
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
