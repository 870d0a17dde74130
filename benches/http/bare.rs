//! The reference: `tiny_http` with nothing behind it.
//!
//! It has what a server on `tiny_http` cannot do without (`TCP_NODELAY`, and veche's own probes,
//! else some of the 64 connections would never be served), and like veche it takes all that waits
//! with one thread. It routes nothing, checks nothing, and answers a constant.

use std::env;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};
use socket2::{Domain, Socket, Type};
use tiny_http::{Header, Method, Request, Response};

use veche::http::self_probe::SelfProbe;

use crate::Result;
use crate::process::Server;

/// First argument of the process that is the bare server.
pub(crate) const ARGUMENT: &str = "--bare-server";

/// Starts it as a process of its own, as veche is one. It answers GET with `page` bytes and POST
/// with `receipt` bytes.
pub(crate) fn start(page: usize, receipt: usize) -> Result<Server> {
    let mut command = Command::new(env::current_exe()?);
    command.arg(ARGUMENT).args([page, receipt].map(|size| size.to_string()));
    Server::start(&mut command, Duration::from_secs(10))
}

/// Is the bare server, until it is killed or the process that started it ends.
pub(crate) fn serve(arguments: &[String]) -> Result<()> {
    let [page, receipt] = arguments else {
        return Err(format!("{ARGUMENT} takes two sizes").into());
    };
    let (page, receipt) = ("x".repeat(page.parse()?), "x".repeat(receipt.parse()?));
    set_parent_process_death_signal(Some(Signal::KILL))?;

    let listener = listen()?;
    let address = listener.local_addr()?;
    let server = tiny_http::Server::from_listener(listener, None)?;
    let probe = SelfProbe::start(address, ())?;
    println!("http://{address}");
    io::stdout().flush()?;

    loop {
        let mut next = Some(server.recv()?);
        while let Some(request) = next {
            if probe.is_probe(request.url()) {
                // Nobody waits for a probe.
                let _ = request.respond(Response::empty(204));
            } else {
                probe.report_activity();
                answer(request, &page, &receipt)?;
            }
            next = server.try_recv()?;
        }
    }
}

fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?; // inherited by what it accepts
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

fn answer(mut request: Request, page: &str, receipt: &str) -> Result<()> {
    let (status, body) = match request.method() {
        Method::Post => {
            io::copy(request.as_reader(), &mut io::sink())?;
            (201, receipt)
        }
        _ => (200, page),
    };
    let json =
        Header::from_bytes("Content-Type", "application/json").map_err(|()| "not a header")?;
    let response =
        Response::new(status.into(), vec![json], body.as_bytes(), Some(body.len()), None);
    // A client that has gone is its own affair.
    let _ = request.respond(response);
    Ok(())
}
