//! The commands: serving, and those that work on a store or a deployment.

use std::error::Error;

pub(crate) mod backup;
pub(crate) mod docs_check;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod maintenance;
pub(crate) mod serve;

/// The result of a command. The error is shown to the operator.
pub(crate) type CommandResult<T> = Result<T, Box<dyn Error>>;
