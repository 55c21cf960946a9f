//! Functions: their metadata, their code, and their changes.

use crate::access::{Admin, Grant, Read, Write};
use crate::audit::Act;
use crate::model::{
    ContentHash, Function, FunctionChange, FunctionCode, FunctionId, FunctionPage, NewFunction,
    SecretNames,
};
use crate::store::{
    ConfirmFunctionError, CreateFunctionError, FunctionError, Store, StoreFailure,
    UpdateFunctionError, functions,
};

impl Store {
    /// A page of functions, newest first, without their code. Every key of the account that may read
    /// sees all of them.
    ///
    /// # Errors
    /// The store's failures.
    pub fn list_functions(
        &self,
        grant: &Grant<Read>,
        limit: usize,
        offset: u64,
    ) -> Result<FunctionPage, StoreFailure> {
        self.read(|access, snapshot| functions::list(access, snapshot, grant, (limit, offset)))
    }

    /// One function, without its code.
    ///
    /// # Errors
    /// `NotFound`, and the store's failures.
    pub fn function(&self, grant: &Grant<Read>, id: FunctionId) -> Result<Function, FunctionError> {
        self.read(|access, _| functions::function(access, grant, id))
    }

    /// One function and its code.
    ///
    /// # Errors
    /// `NotFound`, and the store's failures.
    pub fn function_with_code(
        &self,
        grant: &Grant<Read>,
        id: FunctionId,
    ) -> Result<(Function, FunctionCode), FunctionError> {
        self.read(|access, _| functions::with_code(access, grant, id))
    }

    /// Creates a function. Where it declares secrets, that is reading them: it takes `admin`, and
    /// patterns that reach each name.
    ///
    /// # Errors
    /// See [`CreateFunctionError`]; nothing is written then.
    pub async fn create_function(
        &self,
        act: Act<Grant<Write>>,
        new: NewFunction,
    ) -> Result<Function, CreateFunctionError> {
        self.write(act, move |access, changes, act| functions::create(access, changes, act, new))
            .await
    }

    /// Whether a creation would be refused, as things stand.
    ///
    /// # Errors
    /// See [`CreateFunctionError`].
    pub fn check_function_create(
        &self,
        grant: &Grant<Write>,
        new: &NewFunction,
    ) -> Result<(), CreateFunctionError> {
        self.read(|access, _| functions::check_create(access, grant, new))
    }

    /// Whether a change would be refused, as things stand.
    ///
    /// # Errors
    /// See [`UpdateFunctionError`].
    pub fn check_function_update(
        &self,
        grant: &Grant<Write>,
        id: FunctionId,
        change: &FunctionChange,
    ) -> Result<(), UpdateFunctionError> {
        self.read(|access, _| functions::check_update(access, grant, id, change))
    }

    /// Changes a function. Where it has secrets, or is to have some, what decides over them takes
    /// `admin`, and patterns that reach each name, old and new; but code alone where it is pinned.
    ///
    /// # Errors
    /// See [`UpdateFunctionError`]; nothing is written then.
    pub async fn update_function(
        &self,
        act: Act<Grant<Write>>,
        id: FunctionId,
        change: FunctionChange,
    ) -> Result<Function, UpdateFunctionError> {
        self.write(act, move |access, changes, act| {
            functions::update(access, changes, act, (id, change))
        })
        .await
    }

    /// Says which secrets a function may read.
    ///
    /// # Errors
    /// See [`UpdateFunctionError`]; nothing is written then.
    pub async fn set_function_secrets(
        &self,
        act: Act<Grant<Admin>>,
        id: FunctionId,
        secrets: SecretNames,
    ) -> Result<Function, UpdateFunctionError> {
        let change = FunctionChange::of_secrets(secrets);
        self.write(act, move |access, changes, act| {
            functions::update(access, changes, act, (id, change))
        })
        .await
    }

    /// Confirms a pinned function's code: from then on it reads what the function declares.
    ///
    /// # Errors
    /// See [`ConfirmFunctionError`]; nothing is written then.
    pub async fn confirm_function(
        &self,
        act: Act<Grant<Admin>>,
        id: FunctionId,
        code_sha256: ContentHash,
    ) -> Result<Function, ConfirmFunctionError> {
        self.write(act, move |access, changes, act| {
            functions::confirm(access, changes, act, (id, code_sha256))
        })
        .await
    }

    /// Deletes a function with its code and its executions; its name is free again, and what runs of
    /// it reads nothing more.
    ///
    /// # Errors
    /// See [`FunctionError`]; nothing is written then.
    pub async fn delete_function(
        &self,
        act: Act<Grant<Admin>>,
        id: FunctionId,
    ) -> Result<(), FunctionError> {
        self.write(act, move |access, changes, act| functions::delete(access, changes, act, id))
            .await
    }
}
