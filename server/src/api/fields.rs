//! Fields that bodies of several calls have.

use neo_secrets_attestation::ed25519::{KeyTextError, Signature};

use super::error::ApiError;
use super::json::{Object, Sent};
use crate::model::{Description, Field, Issue, Tags};

/// A description.
pub fn description(object: &mut Object) -> Result<Field<Description>, ApiError> {
    field("description", object.text("description")?, |text| Description::parse(text.to_string()))
}

/// Tags.
pub fn tags(object: &mut Object) -> Result<Field<Tags>, ApiError> {
    field("tags", object.text_pairs("tags")?, |pairs| Tags::parse(pairs.into_iter().collect()))
}

/// What a field that may be absent says.
pub fn field<S, T>(
    name: &str,
    sent: Sent<S>,
    parse: impl FnOnce(S) -> Result<T, Issue>,
) -> Result<Field<T>, ApiError> {
    match sent {
        Sent::Absent => Ok(Field::Keep),
        Sent::Null => Ok(Field::Clear),
        Sent::Value(value) => ruled(name, parse(value)).map(Field::Set),
    }
}

/// The owner's signature.
pub fn signature(object: &mut Object) -> Result<Signature, ApiError> {
    let refused = |error: KeyTextError| ApiError::field("signature", error.to_string());
    object.required_text("signature")?.parse().map_err(refused)
}

/// For a `number` that is not the owner's next act's.
pub fn not_next(next: u64) -> ApiError {
    ApiError::field("number", format!("must be {next}, the owner's next act"))
}

/// At creation there is nothing to keep or clear.
pub fn set<T>(field: Field<T>) -> Option<T> {
    match field {
        Field::Keep | Field::Clear => None,
        Field::Set(value) => Some(value),
    }
}

/// A value, or the rule that the field breaks.
pub fn ruled<T>(name: &str, parsed: Result<T, Issue>) -> Result<T, ApiError> {
    parsed.map_err(|issue| ApiError::field(name, issue.to_string()))
}
