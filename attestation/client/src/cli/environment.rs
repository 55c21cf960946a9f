//! The environment that a command reads.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cli::args::has_a_key;

/// The variables that name an instance and what to trust, which a child of ours does not get.
pub(crate) const VARIABLES: [&str; 3] =
    ["NEO_SECRETS_URL", "NEO_SECRETS_KEY_FILE", "NEO_SECRETS_PROFILE"];

/// The environment that a command reads, as values: a test passes its own. An empty variable counts
/// as absent.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    pub(crate) url: Option<OsString>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) profile: Option<OsString>,
    pub(crate) config_folder: Option<PathBuf>,
    /// NO_COLOR is set, or TERM is `dumb`.
    pub(crate) no_color: bool,
}

impl Environment {
    /// Reads the variables of this process through `variable`.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let absolute = |name| set(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
        Self {
            url: set("NEO_SECRETS_URL"),
            key_file: set("NEO_SECRETS_KEY_FILE").map(PathBuf::from),
            profile: set("NEO_SECRETS_PROFILE"),
            config_folder: base.map(|base| base.join("neo-secrets")),
            no_color: set("NO_COLOR").is_some() || set("TERM").is_some_and(|term| term == "dumb"),
        }
    }

    /// The folder of the keys that belong to a profile: one named after it beside the profiles; or
    /// its own, for one that lies elsewhere, where others have the same name.
    pub(crate) fn key_folder(&self, profile: &Path) -> Option<PathBuf> {
        let config = self.config_folder.as_deref();
        match config.filter(|config| profile.parent() == Some(&config.join("profiles"))) {
            Some(config) => Some(config.join("keys").join(profile.file_stem()?)),
            None => profile.parent().map(Path::to_owned),
        }
    }

    /// The variable that holds an API key, which none of them takes, where one does.
    pub(crate) fn variable_with_a_key(&self) -> Option<&'static str> {
        let Self { url, key_file, profile, config_folder: _, no_color: _ } = self;
        let key_file = key_file.as_ref().map(|path| path.as_os_str());
        let variables = [
            ("NEO_SECRETS_URL", url.as_deref()),
            ("NEO_SECRETS_KEY_FILE", key_file),
            ("NEO_SECRETS_PROFILE", profile.as_deref()),
        ];
        let mut variables = variables.into_iter();
        variables.find(|(_, value)| value.is_some_and(has_a_key)).map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lie_where_their_profile_does() {
        let environment =
            Environment { config_folder: Some("/c".into()), ..Environment::default() };
        let folder = |profile: &str| {
            environment.key_folder(Path::new(profile)).unwrap().display().to_string()
        };
        assert_eq!(folder("/c/profiles/prod.json"), "/c/keys/prod");
        assert_eq!(folder("/data/client/profile.json"), "/data/client");
        assert_eq!(folder("profile.json"), "");
    }
}
