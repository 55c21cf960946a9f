//! What stands in the records of executions.

use crate::model::{
    ContentHash, Execution, ExecutionEnd, ExecutionId, ExecutionState, FunctionId, KeyId, Timestamp,
};
use minicbor::{Decode, Encode};

#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct ExecutionBody {
    #[n(0)]
    pub(in crate::store) code_sha256: ContentHash,
    #[n(1)]
    pub(in crate::store) invoked_by: KeyId,
    #[n(2)]
    pub(in crate::store) started_at: Timestamp,
    /// In which opening of the store it ran.
    #[n(3)]
    pub(in crate::store) opening: Opening,
    #[n(4)]
    pub(in crate::store) end: Option<ExecutionEnd>,
}

/// One opening of the store: random, and kept by nobody but the records of executions. What has
/// not ended in an earlier opening never will.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Opening(pub(in crate::store) [u8; 16]);

impl ExecutionBody {
    /// The execution that this is the record of, as it is known in this opening of the store.
    pub(in crate::store) fn into_execution(
        self,
        (function, id): (FunctionId, ExecutionId),
        now_open: Opening,
    ) -> Execution {
        let Self { code_sha256, invoked_by, started_at, opening, end } = self;
        let state = match end {
            Some(end) => ExecutionState::Ended(Box::new(end)),
            None if opening == now_open => ExecutionState::Running,
            None => ExecutionState::Lost,
        };
        Execution { id, function, code_sha256, invoked_by, started_at, state }
    }
}
