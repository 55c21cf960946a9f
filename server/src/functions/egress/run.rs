//! The use-only secrets of a run: the store's answers, for the egress.

use super::{Use, UseOnlySecrets, UseRefused};
use crate::access::FunctionRun;
use crate::audit::{Act, Origin};
use crate::clock::Clock;
use crate::model::{HeaderName, SecretValue};
use crate::store::{FunctionUseError, SecretUse, Store};

/// What one run of a function may use.
pub struct RunSecrets<'s> {
    /// Where they are.
    pub store: &'s Store,
    /// By whose right.
    pub run: FunctionRun,
    /// The request that invoked the function.
    pub origin: Origin,
    /// The time.
    pub clock: &'s Clock,
}

impl UseOnlySecrets for RunSecrets<'_> {
    async fn take(&self, usage: Use<'_>) -> Result<SecretValue, UseRefused> {
        let Use { secret, host, header } = usage;
        // A name that no secret allows as its header is not one that this secret allows.
        let header = HeaderName::parse(header.to_owned()).map_err(|_| UseRefused::Header)?;
        let usage = SecretUse { name: secret.clone(), host: host.clone(), header };
        let (by, origin, now) = (self.run.clone(), self.origin.clone(), self.clock.now());
        match self.store.function_use(Act { by, origin, now }, usage).await {
            Ok(used) => Ok(used.value),
            Err(FunctionUseError::Denied) => Err(UseRefused::Denied),
            Err(FunctionUseError::NotFound) => Err(UseRefused::NotFound),
            Err(FunctionUseError::Readable) => Err(UseRefused::Readable),
            Err(FunctionUseError::Host) => Err(UseRefused::Host),
            Err(FunctionUseError::Header) => Err(UseRefused::Header),
            Err(FunctionUseError::Store(failure)) => {
                tracing::warn!(%failure, "a use-only secret was not given");
                Err(UseRefused::Unavailable)
            }
        }
    }
}
