//! The errors of handlers.

use crate::problem::Problem;
use crate::store::StoreError;

/// The error of a handler.
#[derive(Debug)]
pub enum Failure {
    /// The request is refused, and the client is told why.
    Problem(Problem),
    /// The store failed. The client gets a 500, or a 507 if there is no room.
    Store(StoreError),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Failure::Problem(problem)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Store(error)
    }
}
