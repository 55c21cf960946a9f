//! Why the store's verbs did not do what they were asked.

use crate::model::{ContentHash, Issue, Resource, Revision, Version};

/// The store itself failed, or the caller's key is gone: what every verb may answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFailure {
    /// A write failed earlier, or the store is closing. Nothing works until it is opened again.
    #[error("the store is unavailable until it is opened again")]
    Unavailable,
    /// The disk has too little room for a write that makes the store larger.
    #[error("the disk has no room for this write")]
    DiskFull,
    /// A record did not open, or one that another names is not there: the file was changed from
    /// outside.
    #[error("a record of kind {kind} is damaged")]
    Damaged {
        /// The kind of the record.
        kind: &'static str,
    },
    /// The key, or its token, was revoked since it authenticated, or its account deleted: the write
    /// was not made. Answer as if it had not authenticated.
    #[error("the key was revoked")]
    KeyRevoked,
    /// The account has as much as it may, and the write would have made it more.
    #[error("the account is at its quota of {limit} {resource}")]
    QuotaExceeded {
        /// Of what.
        resource: Resource,
        /// The quota.
        limit: u64,
    },
}

/// One error enum of a verb: its own facts, and the store's failures.
macro_rules! verb_error {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $({ $($(#[$field_doc:meta])* $field:ident: $type:ty),* })?),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        pub enum $name {
            $($(#[$variant_doc])* $variant $({ $($(#[$field_doc])* $field: $type),* })?,)*
            /// The store failed.
            #[error(transparent)]
            Store(#[from] StoreFailure),
        }
    };
}

verb_error! {
    /// Why a token did not authenticate.
    AuthError {
        /// Unknown, revoked or expired: one answer.
        #[error("the key is unknown, revoked or expired")]
        Unauthorized,
    }
}

verb_error! {
    /// Why a claim was not repeated.
    ClaimAgainError {
        /// By another owner, or one of its keys has been used.
        #[error("the instance is already claimed")]
        AlreadyClaimed,
    }
}

verb_error! {
    /// Why a read gave nothing.
    ReadError {
        /// No such object for this key.
        #[error("not found")]
        NotFound,
        /// It is the value of a use-only secret, which nobody reads.
        #[error("the secret is use-only")]
        UseOnly,
    }
}

verb_error! {
    /// Why a secret was not created.
    CreateSecretError {
        /// The name lies outside the key's patterns.
        #[error("this key does not reach secrets of that name")]
        OutsideScope,
        /// A live secret has that name.
        #[error("a secret of that name exists")]
        NameTaken,
    }
}

verb_error! {
    /// Why a secret was not updated.
    UpdateSecretError {
        /// The value breaks a rule of use-only ones.
        #[error("the value {issue}")]
        Value {
            /// The rule.
            issue: Issue
        },
        /// No such secret for this key.
        #[error("not found")]
        NotFound,
        /// The caller expected another revision.
        #[error("the secret is at revision {}", current.0)]
        RevisionMismatch {
            /// The one it has.
            current: Revision
        },
    }
}

verb_error! {
    /// Why a secret was not rolled back.
    RollbackSecretError {
        /// No such secret for this key.
        #[error("not found")]
        NotFound,
        /// The caller expected another revision.
        #[error("the secret is at revision {}", current.0)]
        RevisionMismatch {
            /// The one it has.
            current: Revision
        },
        /// There never was such a version, or it is no longer kept.
        #[error("the versions {} to {} are kept", oldest.0, newest.0)]
        NotKept {
            /// The first that is kept.
            oldest: Version,
            /// The current one.
            newest: Version
        },
    }
}

verb_error! {
    /// Why a secret was not deleted.
    DeleteSecretError {
        /// No such secret for this key.
        #[error("not found")]
        NotFound,
    }
}

verb_error! {
    /// Why a key was not created.
    CreateKeyError {
        /// It would allow what the issuing key does not.
        #[error("a key issues only keys whose permissions lie within its own")]
        PermissionsExceed,
        /// It would reach secrets that the issuing key does not surely reach.
        #[error("a key issues only keys whose patterns lie within its own")]
        ScopeExceeds,
        /// It would work on after the issuing key has expired.
        #[error("a key issues only keys that expire no later than itself")]
        Outlasts,
    }
}

verb_error! {
    /// Why a key was not revoked.
    RevokeKeyError {
        /// No such key, or none that lies within the caller's.
        #[error("not found")]
        NotFound,
        /// It is the account's last admin key that reaches everything and does not expire.
        #[error("this is the account's last admin key")]
        LastAdmin,
    }
}

verb_error! {
    /// Why a key was not rotated.
    RotateKeyError {
        /// No such key, or none that lies within the caller's.
        #[error("not found")]
        NotFound,
        /// Its new token would work on after the caller's key has expired.
        #[error("a key rotates only keys that expire no later than itself")]
        Outlasts,
        /// It is the account's last admin key that reaches everything and does not expire, and the
        /// old token would not outlive a lost answer.
        #[error("this is the account's last admin key: its old token has to work a while longer")]
        LastAdmin,
    }
}

verb_error! {
    /// Why an account was not created.
    CreateAccountError {
        /// There are as many as there may be.
        #[error("the instance has its limit of {limit} accounts")]
        TooMany {
            /// Accounts of an instance.
            limit: u64
        },
    }
}

verb_error! {
    /// Why an account was not changed, or not deleted.
    AccountError {
        /// No such account.
        #[error("not found")]
        NotFound,
    }
}

verb_error! {
    /// Why a function was not created.
    CreateFunctionError {
        /// A function has that name.
        #[error("a function of that name exists")]
        NameTaken,
        /// It binds secrets, which is reading.
        #[error("only a key with admin gives a function secrets")]
        NeedsAdmin,
        /// It names a secret outside the key's patterns.
        #[error("this key does not reach every secret that the function declares")]
        OutsideScope,
    }
}

verb_error! {
    /// Why a function was not changed.
    UpdateFunctionError {
        /// No such function for this key.
        #[error("not found")]
        NotFound,
        /// The function has secrets, or is to have some, and the change bears on what reads them.
        #[error("only a key with admin changes what reads a function's secrets")]
        NeedsAdmin,
        /// As before, and a secret's name, an old one or a new one, lies outside the key's patterns.
        #[error("this key does not reach every secret that the function declares")]
        OutsideScope,
    }
}

verb_error! {
    /// Why a function's code was not confirmed.
    ConfirmFunctionError {
        /// No such function for this key.
        #[error("not found")]
        NotFound,
        /// A secret's name lies outside the key's patterns.
        #[error("this key does not reach every secret that the function declares")]
        OutsideScope,
        /// The function's code needs no confirmation.
        #[error("the function's code is not pinned")]
        NotPinned,
        /// The function has other code than the caller means.
        #[error("the function has other code")]
        OtherCode {
            /// Of the code that it has.
            current: ContentHash
        },
    }
}

verb_error! {
    /// Why a function, or its executions, were not read, or it was not deleted.
    FunctionError {
        /// No such function, or no such execution of it.
        #[error("not found")]
        NotFound,
    }
}

verb_error! {
    /// Why a use-only value was not sent.
    FunctionUseError {
        /// As of [`FunctionReadError`].
        #[error("the function may not use this secret")]
        Denied,
        /// It may, and there is no such secret, or it has expired.
        #[error("not found")]
        NotFound,
        /// The secret is one that is read.
        #[error("the secret is not use-only")]
        Readable,
        /// The secret does not go to that host.
        #[error("the secret may not be sent to this host")]
        Host,
        /// The secret does not go in that header.
        #[error("the secret may not be sent in this header")]
        Header,
    }
}

verb_error! {
    /// Why code was not given a value.
    FunctionReadError {
        /// The function does not declare the name, or its code waits for a confirmation, or it has
        /// other code by now, or is gone; or the secret is use-only.
        #[error("the function may not read this secret")]
        Denied,
        /// It may, and there is no such secret, or it has expired.
        #[error("not found")]
        NotFound,
    }
}
