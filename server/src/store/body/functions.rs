//! What stands in the records of functions: metadata, code, names, and how much there is of them.

use crate::model::{
    ContentHash, Description, EgressHosts, Environment, Function, FunctionCode, FunctionId,
    FunctionName, Memory, SecretNames, Tags, Timeout, Timestamp,
};
use minicbor::{Decode, Encode};

#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct FunctionBody {
    #[n(0)]
    pub(in crate::store) name: FunctionName,
    #[n(1)]
    pub(in crate::store) description: Option<Description>,
    #[n(2)]
    pub(in crate::store) tags: Tags,
    #[n(3)]
    pub(in crate::store) created_at: Timestamp,
    #[n(4)]
    pub(in crate::store) updated_at: Timestamp,
    #[n(5)]
    pub(in crate::store) timeout: Timeout,
    #[n(6)]
    pub(in crate::store) memory: Memory,
    #[n(7)]
    pub(in crate::store) secrets: SecretNames,
    #[n(8)]
    pub(in crate::store) environment: Environment,
    #[n(9)]
    pub(in crate::store) egress: EgressHosts,
    #[n(10)]
    pub(in crate::store) pin_code: bool,
    /// Of the code that was confirmed; absent without `pin_code`.
    #[n(11)]
    pub(in crate::store) confirmed: Option<ContentHash>,
    /// Of what stands in the code's record.
    #[n(12)]
    pub(in crate::store) code_sha256: ContentHash,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct CodeBody {
    #[n(0)]
    pub(in crate::store) code: FunctionCode,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct FunctionNameBody {
    #[n(0)]
    pub(in crate::store) name: FunctionName,
    #[n(1)]
    pub(in crate::store) function: FunctionId,
}

#[derive(Encode, Decode, Default)]
#[cbor(map)]
pub(in crate::store) struct FunctionsStateBody {
    /// Functions that there are.
    #[n(0)]
    pub(in crate::store) functions: u64,
    /// What the records of executions take, with their engine keys. Absent, nobody has counted it:
    /// the next record does.
    #[n(1)]
    pub(in crate::store) execution_bytes: Option<u64>,
}

impl FunctionsStateBody {
    /// A record of an execution of so many bytes has gone. What is counted wrong is no reason to
    /// keep one, so it is not damage.
    pub(in crate::store) fn subtract(&mut self, bytes: u64) {
        self.execution_bytes = self.execution_bytes.map(|all| all.saturating_sub(bytes));
    }
}

impl FunctionBody {
    /// The function that this is the record of.
    pub(in crate::store) fn into_function(self, id: FunctionId) -> Function {
        let Self {
            name,
            description,
            tags,
            created_at,
            updated_at,
            timeout,
            memory,
            secrets,
            environment,
            egress,
            pin_code,
            confirmed,
            code_sha256,
        } = self;
        Function {
            id,
            name,
            description,
            timeout,
            memory,
            secrets,
            environment,
            egress,
            tags,
            pin_code,
            confirmed,
            code_sha256,
            created_at,
            updated_at,
        }
    }

    /// Whether the code may read secrets at all, as far as it is pinned.
    pub(in crate::store) fn may_read(&self) -> bool {
        !self.pin_code || self.confirmed == Some(self.code_sha256)
    }
}
