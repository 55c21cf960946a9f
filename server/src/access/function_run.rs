//! One run of a function's code.

use super::{Execute, Grant};
use crate::model::{ContentHash, ExecutionId, FunctionId};
use std::sync::Arc;

/// The proof that a key with the right to do so invoked this function with this code. Only the
/// store makes one, of a function that it has found. What the run may read is the function's to
/// say, at each read anew.
#[derive(Clone)]
pub struct FunctionRun {
    grant: Arc<Grant<Execute>>,
    function: FunctionId,
    code_sha256: ContentHash,
    execution: ExecutionId,
}

impl FunctionRun {
    pub(crate) fn new(
        grant: Grant<Execute>,
        (function, code_sha256): (FunctionId, ContentHash),
        execution: ExecutionId,
    ) -> Self {
        Self { grant: Arc::new(grant), function, code_sha256, execution }
    }

    /// By whose right.
    #[must_use]
    pub fn grant(&self) -> &Grant<Execute> {
        &self.grant
    }

    /// The function.
    #[must_use]
    pub fn function(&self) -> FunctionId {
        self.function
    }

    /// Of the code that runs.
    #[must_use]
    pub fn code_sha256(&self) -> ContentHash {
        self.code_sha256
    }

    /// The execution that this is.
    #[must_use]
    pub fn execution(&self) -> ExecutionId {
        self.execution
    }
}
