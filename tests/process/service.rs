//! The messages to systemd, and the unit in `deploy/`.

use std::env;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::server::{PATIENCE, Server, run, veche};

const VERIFIER: &str = "systemd-analyze";
/// systemd's own scale: 10 is no protection at all, 0 is complete protection.
const MAX_EXPOSURE: f64 = 2.0;

fn unit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/veche.service");
    fs::read_to_string(path).unwrap()
}

/// The server tells the manager that it is ready, that it is alive, and that it stops.
#[test]
fn the_manager_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut message = [0; 256];
        let len = manager.recv(&mut message).expect("a message in time");
        String::from_utf8(message[..len].to_vec()).unwrap()
    };
    let mut command = veche();
    command.args(["--listen=127.0.0.1:0", "--store=memory"]).env("NOTIFY_SOCKET", &path);
    let server = Server::spawn(&mut command, dir.path());
    assert_eq!(told(), "READY=1\n");
    assert_eq!(told(), "WATCHDOG=1\n");
    assert_eq!(told(), "WATCHDOG=1\n");
    server.signal(Signal::TERM);
    while told() != "STOPPING=1\n" {}
    assert_eq!(server.wait().0, Some(0));
}

/// The unit with this build's binary in place of the installed one.
fn verified_unit(dir: &Path) -> PathBuf {
    let installed = "ExecStart=/usr/local/bin/veche";
    let unit = unit();
    assert!(unit.contains(installed));
    let file = dir.join("veche.service");
    let started = format!("ExecStart={}", env!("CARGO_BIN_EXE_veche"));
    fs::write(&file, unit.replace(installed, &started)).unwrap();
    file
}

#[test]
fn the_unit_is_right_by_systemds_own_verifier() {
    if Command::new(VERIFIER).arg("--version").output().is_err() {
        assert!(env::var_os("CI").is_none(), "CI has to install {VERIFIER}");
        eprintln!("{VERIFIER} is not installed: the unit is not verified");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = verified_unit(dir.path());
    let output = run(Command::new(VERIFIER).arg("verify").arg("--man=no").arg(&file));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    let output =
        run(Command::new(VERIFIER).args(["security", "--offline=true", "--no-pager"]).arg(&file));
    let said = String::from_utf8_lossy(&output.stdout);
    let (_, behind) = said.rsplit_once("Overall exposure level for veche.service: ").unwrap();
    let exposure: f64 = behind.split_whitespace().next().unwrap().parse().unwrap();
    assert!(exposure <= MAX_EXPOSURE, "{exposure}");
}

/// The server knows every flag in the unit.
#[test]
fn the_units_command_line_is_understood() {
    let unit = unit().replace("\\\n", " ");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/veche"));
    let args: Vec<&str> = line.unwrap().split_whitespace().collect();
    let output = run(veche().args(args).arg("--version"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The front connects to the server that the unit starts, and that server trusts the front.
#[test]
fn the_unit_and_the_front_belong_together() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx.conf");
    let front = fs::read_to_string(path).unwrap();
    let (_, upstream) = front.split_once("upstream veche {\n        server ").unwrap();
    let addr = upstream.split([' ', ';']).next().unwrap();
    let (_, wanted) = front.split_once("#     veche ").unwrap();
    let wanted = wanted.lines().next().unwrap();
    assert!(wanted.contains(&format!("--listen {addr}")), "{wanted}");
    let unit = unit().replace("\\\n", " ");
    let words: Vec<&str> = unit.split_whitespace().collect();
    for pair in wanted.split_whitespace().collect::<Vec<_>>().chunks(2) {
        assert!(words.windows(2).any(|there| there == pair), "{pair:?} is not in the unit");
    }
}
