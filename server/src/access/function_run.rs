//! One run of a function's code.

use super::{Execute, Grant};
use crate::model::{ContentHash, EgressHosts, Environment, ExecutionId, FunctionId, SecretNames};
use std::sync::Arc;

/// The proof that a key with the right to do so invoked this function on these terms. Only the
/// store makes one, of a function that it has found. What the run may read is the function's to
/// say, at each read anew: it reads nothing where the terms have changed meanwhile, since whoever
/// bound a secret has seen other ones.
#[derive(Clone)]
pub struct FunctionRun {
    grant: Arc<Grant<Execute>>,
    terms: Arc<Terms>,
    execution: ExecutionId,
}

/// What decides where a secret that a function reads may go.
pub struct Terms {
    /// The function.
    pub function: FunctionId,
    /// Of its code.
    pub code_sha256: ContentHash,
    /// What it declares.
    pub secrets: SecretNames,
    /// What it is shown.
    pub environment: Environment,
    /// Where it may call.
    pub egress: EgressHosts,
}

impl FunctionRun {
    pub(crate) fn new(grant: Grant<Execute>, terms: Terms, execution: ExecutionId) -> Self {
        Self { grant: Arc::new(grant), terms: Arc::new(terms), execution }
    }

    /// The same execution on the terms that stand now: for one that has not begun.
    pub(crate) fn on(&self, terms: Terms) -> Self {
        Self { terms: Arc::new(terms), ..self.clone() }
    }

    /// What it was invoked on.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// By whose right.
    #[must_use]
    pub fn grant(&self) -> &Grant<Execute> {
        &self.grant
    }

    /// The function.
    #[must_use]
    pub fn function(&self) -> FunctionId {
        self.terms.function
    }

    /// Of the code that runs.
    #[must_use]
    pub fn code_sha256(&self) -> ContentHash {
        self.terms.code_sha256
    }

    /// The execution that this is.
    #[must_use]
    pub fn execution(&self) -> ExecutionId {
        self.execution
    }
}
