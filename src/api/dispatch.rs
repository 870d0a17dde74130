//! The way of a request to its handler.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::app::App;
use super::failure::Failure;
use super::outcome::{Outcome, Resume};
use super::preflight::preflight;
use super::reply::Reply;
use super::request::{Call, Request};
use super::routes::{self, Handler, Match, Route};
use crate::auth::tokens::Bearer;
use crate::model::UserId;
use crate::problem::Problem;

const NO_SUCH_PATH: &str = "there is no such path; /docs lists all paths";

/// Facts about a request that was handled, for metrics and the access log.
#[derive(Clone, Copy, Default)]
pub struct RequestInfo {
    /// The route that matched.
    pub route: Option<&'static Route>,
    /// The user whose token the request has, if the route needs one.
    pub caller: Option<UserId>,
    /// The client's address, as far as it can be believed.
    pub client: Option<IpAddr>,
}

impl App {
    /// Routes and handles one request. What it writes is durable after the next [`App::sync`].
    pub fn handle(&mut self, request: &Request<'_>) -> (RequestInfo, Outcome) {
        let mut info = RequestInfo { client: Some(request.client), ..RequestInfo::default() };
        let handled = catch_unwind(AssertUnwindSafe(|| self.dispatch(request, &mut info)));
        let outcome = match handled {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(failure)) => Outcome::Reply(self.reply_to(failure)),
            Err(_) => Outcome::Reply(Problem::internal().into()),
        };
        (info, outcome)
    }

    /// Goes on with a request whose job is done.
    pub fn resume(&mut self, resume: Resume) -> Reply {
        match catch_unwind(AssertUnwindSafe(|| resume(self))) {
            Ok(Ok(reply)) => reply,
            Ok(Err(failure)) => self.reply_to(failure),
            Err(_) => Problem::internal().into(),
        }
    }

    fn dispatch(
        &mut self,
        request: &Request<'_>,
        info: &mut RequestInfo,
    ) -> Result<Outcome, Failure> {
        let (route, segment) = match routes::find(request.method, request.path) {
            Match::Route(route, segment) => (route, segment),
            Match::OtherMethods(allow) => {
                let preflight = preflight(&self.settings.cors, request, &allow);
                let refused = || Problem::method_not_allowed(allow).into();
                return preflight.map(Outcome::Reply).ok_or_else(refused);
            }
            Match::Nothing => return Err(Problem::not_found(NO_SUCH_PATH).into()),
        };
        info.route = Some(route);
        let operation = route.operation;
        match route.handler {
            Handler::Open(handle) => {
                handle(self, &Call { request, operation, caller: (), session: (), segment })
            }
            Handler::Authenticated(handle) => {
                let Bearer { user: caller, session } = self.authenticate(request)?;
                info.caller = Some(caller);
                handle(self, &Call { request, operation, caller, session, segment })
            }
        }
    }
}
