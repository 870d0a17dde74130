//! The entry that closes registration.

use serde::{Deserialize, Serialize};

use crate::store::codec::{DecodeError, Fields, Layout};

/// Registration. There is only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationKey {}

/// nothing
impl Layout for RegistrationKey {
    fn put(&self, _: &mut Vec<u8>) {}

    fn take(_: &mut Fields<'_>) -> Result<RegistrationKey, DecodeError> {
        Ok(RegistrationKey {})
    }
}
