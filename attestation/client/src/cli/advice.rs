//! What a refusal of the server means to the shell, and what to type next.

use crate::cli::outcome::Exit;
use crate::cli::rights::Lacking;

/// The exit code and the advice for a status; `told` is the server's own message.
pub(crate) fn on_status(
    status: u16,
    told: &str,
    retry_after_seconds: Option<u64>,
) -> (Exit, Option<String>) {
    let fixed = |text: &str| Some(text.to_owned());
    match status {
        401 => (
            Exit::NotAuthorised,
            fixed(
                "the key in the key file is unknown, revoked or expired: --key-file FILE names \
                 another; who has an admin key can issue one (neo-secrets keys create)",
            ),
        ),
        403 => (Exit::NotAuthorised, forbidden(told)),
        404 if told.contains("path") => (
            Exit::NotFoundOrConflict,
            fixed("this server is older than this command, or has it turned off"),
        ),
        404 => (
            Exit::NotFoundOrConflict,
            fixed(
                "this key may see others, or none: neo-secrets secrets list --prefix TEXT shows \
                 secrets; functions list, keys list and accounts list the rest",
            ),
        ),
        409 => (Exit::NotFoundOrConflict, conflict(told)),
        412 => (
            Exit::NotFoundOrConflict,
            fixed("it has changed meanwhile: look with `neo-secrets secrets get`, then repeat"),
        ),
        429 => {
            (Exit::Error, retry_after_seconds.map(|seconds| format!("try again in {seconds} s")))
        }
        503 => (Exit::Error, fixed("neo-secrets status shows what the instance is waiting for")),
        507 => (Exit::Error, Some(full(told))),
        _ => (Exit::Error, None),
    }
}

/// A known key may not do this: which permission it takes, and how to come by it.
fn forbidden(told: &str) -> Option<String> {
    if told.contains("reveal is") || told.contains("reveal =") {
        return Some(REVEAL_OFF.to_owned());
    }
    if told.contains("it is the owner's") {
        return Some(
            "owner.key is for calls about the instance only: --key-file FILE names an account's key"
                .to_owned(),
        );
    }
    if told.contains("owner") {
        return Some(
            "the owner's key is in owner.key, which `neo-secrets claim` wrote: --key-file \
             owner.key"
                .to_owned(),
        );
    }
    if told.contains("does not reach") {
        return Some(NARROWED.to_owned());
    }
    Lacking::parse(told).map(|lacking| self::lacking(&lacking))
}

/// How to come by a key that may what this one may not.
pub(crate) fn lacking(lacking: &Lacking) -> String {
    let options = lacking.options();
    format!(
        "who has an admin key can issue one that may: neo-secrets keys create NAME {options} --out \
         NAME.key; then --key-file NAME.key"
    )
}

/// A quota is used up: who can raise it, and how.
fn full(told: &str) -> String {
    let options = [
        ("valueBytes", "--value-bytes"),
        ("apiKeys", "--api-keys"),
        ("auditEvents", "--audit-events"),
        ("secrets", "--secrets"),
        ("functions", "--functions"),
    ];
    let mut options =
        options.into_iter().filter(|(name, _)| told.contains(&format!("quota {name}")));
    let option = options.next().map_or("--QUOTA", |(_, option)| option);
    format!(
        "the instance's owner can raise it: neo-secrets accounts update ACCOUNT {option} N; \
         deleting secrets or revoking keys makes room too, but for audit events"
    )
}

/// Why no value can be had of an instance, whatever the key.
pub(crate) const REVEAL_OFF: &str = "the instance's configuration has reveal = \"off\", which its \
    evidence shows: it gives no value out, to no key. Its owner may found an instance with reveal \
    = \"by-permission\"";

/// Why a name is refused that other keys take.
pub(crate) const NARROWED: &str = "this key is narrowed to other names: who has an admin key sees \
    which (neo-secrets keys list), and can issue another (neo-secrets keys create NAME --secret \
    GLOB)";

fn conflict(told: &str) -> Option<String> {
    if told.contains("function") {
        return Some("neo-secrets functions show NAME shows it as it is now".to_owned());
    }
    let name = told.to_ascii_lowercase().contains("name");
    name.then(|| {
        "neo-secrets secrets update NAME gives a secret that exists a new value".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_permission_is_named_with_the_command_that_gives_it() {
        let advice = |told: &str| on_status(403, told, None).1;
        let write = advice("This key lacks the permission write.").unwrap();
        assert!(write.contains("keys create NAME --permission write"), "{write}");
        let narrow = "This key lacks the permission admin: it has read on secrets db-*.";
        let narrow = advice(narrow).unwrap();
        let options = "keys create NAME --permission read,admin --secret 'db-*' --out NAME.key";
        assert!(narrow.contains(options), "{narrow}");
        let owners = advice("This key lacks the permission read: it is the owner's.").unwrap();
        assert!(owners.contains("an account's key"), "{owners}");
        let owner = advice("Only the owner's key may do this.").unwrap();
        assert!(owner.contains("owner.key"), "{owner}");
        // What a server says is not taken over into a command.
        assert_eq!(advice("This key lacks the permission $(reboot)."), None);
        let narrowed = advice("This key does not reach secrets of that name.").unwrap();
        assert!(narrowed.contains("keys list"), "{narrowed}");
    }

    #[test]
    fn a_full_quota_is_told_with_its_option() {
        let told = "The account is at its quota auditEvents: 4 events in the audit log.";
        let advice = on_status(507, told, None).1.unwrap();
        assert!(advice.contains("accounts update ACCOUNT --audit-events N"), "{advice}");
    }

    #[test]
    fn other_refusals_say_what_to_type_next() {
        for (status, expected) in [
            (401, "--key-file"),
            (404, "secrets list --prefix"),
            (412, "secrets get"),
            (429, "try again in 7 s"),
            (503, "neo-secrets status"),
            (507, "accounts update ACCOUNT --QUOTA N"),
        ] {
            let advice = on_status(status, "", Some(7)).1.unwrap();
            assert!(advice.contains(expected), "{status}: {advice}");
        }
    }
}
