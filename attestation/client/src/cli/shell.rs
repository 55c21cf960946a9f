//! Commands that work when they are pasted.

use std::path::PathBuf;

use crate::cli::args::Global;
use crate::cli::terminal::printable;

/// `neo-secrets`, with what was typed of the instance and of what it is verified by.
pub(crate) fn program(global: &Global, url: Option<&str>) -> String {
    let mut program = with_profile(global);
    let file = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let options = [
        ("--url", url.or(global.url.as_deref()).map(str::to_owned)),
        ("--reference", file(&global.reference)),
        ("--policy", file(&global.policy)),
        ("--trust-simulated", file(&global.trust_simulated)),
        ("--pin", global.pin.map(|pin| pin.to_string())),
    ];
    for (option, value) in options {
        if let Some(value) = value {
            program.push_str(&format!(" {option} {}", quoted(&value)));
        }
    }
    for (option, typed) in [
        ("--pin-first-use", global.pin_first_use),
        ("--accept-firmware-only", global.accept_firmware_only),
    ] {
        if typed {
            program.push_str(&format!(" {option}"));
        }
    }
    program
}

/// `neo-secrets`, with the profile that was named, where that has all the rest.
pub(crate) fn with_profile(global: &Global) -> String {
    match &global.profile {
        None => "neo-secrets".to_owned(),
        Some(name) => format!("neo-secrets --profile {}", quoted(&name.to_string_lossy())),
    }
}

/// A text whose commands, which begin with `neo-secrets`, begin with `program` instead.
pub(crate) fn in_commands(text: &str, program: &str) -> String {
    let mut parts = text.split("neo-secrets ");
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let has_options = part.starts_with("--");
        told.push_str(if has_options { "neo-secrets" } else { program });
        told.push(' ');
        told.push_str(part);
    }
    told
}

/// A word of a shell command, quoted where the shell would take it apart.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:=@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", printable(word).replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_to_paste_has_what_was_typed() {
        let global = Global {
            profile: Some("p".into()),
            url: Some("https://h:1".to_owned()),
            policy: Some("my policy.json".into()),
            accept_firmware_only: true,
            key_file: Some("other.key".into()),
            ..Global::default()
        };
        let program = program(&global, None);
        let expected = "neo-secrets --profile p --url https://h:1 --policy 'my policy.json' \
                        --accept-firmware-only";
        assert_eq!(program, expected);
        assert_eq!(
            in_commands("type neo-secrets status, or neo-secrets --profile q verify", "P"),
            "type P status, or neo-secrets --profile q verify"
        );
        assert_eq!(in_commands("upgrade neo-secrets", "P"), "upgrade neo-secrets");
    }
}
