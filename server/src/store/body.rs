//! What stands in a sealed record (STORE.md §6). Every field is parsed by the parser that admitted
//! it.

mod accounts;
mod api_keys;
mod audit;
mod executions;
mod functions;
mod instance;
mod secrets;
mod values;

use crate::store::record::{self, Kind};
pub(super) use accounts::{AccountBody, AccountKeyBody, DeletionBody, StateBody, StateBodyV1};
pub(super) use api_keys::{KeyBody, PreviousToken, TokenBody};
pub(super) use audit::{AuditBody, AuditStateBody};
pub(super) use executions::{ExecutionBody, Opening};
pub(super) use functions::{CodeBody, FunctionBody, FunctionNameBody, FunctionsStateBody};
pub(super) use instance::{
    ClockBody, InstanceBody, OwnerBody, OwnerBodyV1, OwnerKey, SealedConfig,
};
use minicbor::{Decode, Encode};
pub(super) use secrets::{NameBody, NamesBody, SecretBody, ValueBody, VersionBody, Versions};

/// A record's content.
pub(super) trait Body: Encode<()> + for<'b> Decode<'b, ()> {
    /// Its kind.
    const KIND: Kind;
    /// The version of its fields.
    const VERSION: u8;
    /// The oldest version that still opens: what it wrote, this one writes too where the new fields
    /// are absent.
    const OLDEST: u8 = Self::VERSION;
}

macro_rules! bodies {
    ($($body:ident: $kind:ident $version:literal $(from $oldest:literal)?),* $(,)?) => {
        $(impl Body for $body {
            const KIND: Kind = Kind::$kind;
            const VERSION: u8 = $version;
            $(const OLDEST: u8 = $oldest;)?
        })*

        /// Kind and version of every body, for [`crate::fuzzing`].
        pub(crate) const BODIES: &[(u8, u8)] = &[$((Kind::$kind as u8, $version)),*];

        /// [`record::rewritten`] for a body of this kind and version.
        pub(crate) fn rewritten(of: (u8, u8), rest: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
            match of {
                $(of if of == (Kind::$kind as u8, $version) => {
                    record::rewritten::<$body>(rest, plaintext)
                })*
                _ => None,
            }
        }

        /// [`record::opens_by_chance`] for a body of this kind and version.
        pub(crate) fn opens_by_chance(of: (u8, u8), rest: &[u8], sealed: &[u8]) -> bool {
            match of {
                $(of if of == (Kind::$kind as u8, $version) => {
                    record::opens_by_chance::<$body>(rest, sealed)
                })*
                _ => false,
            }
        }
    };
}

bodies! {
    AccountKeyBody: AccountKey 1,
    InstanceBody: Instance 1,
    OwnerBodyV1: Owner 1,
    OwnerBody: Owner 3 from 2,
    AccountBody: Account 1,
    DeletionBody: Deletion 1,
    ClockBody: Clock 1,
    TokenBody: Token 1,
    StateBodyV1: State 1,
    StateBody: State 3 from 2,
    KeyBody: ApiKey 1,
    SecretBody: Secret 2 from 1,
    ValueBody: Value 1,
    NameBody: Name 1,
    NamesBody: Names 1,
    AuditBody: Audit 1,
    AuditStateBody: AuditState 1,
    FunctionBody: Function 1,
    CodeBody: Code 1,
    FunctionNameBody: FunctionName 1,
    ExecutionBody: Execution 1,
    FunctionsStateBody: FunctionsState 2 from 1,
}
