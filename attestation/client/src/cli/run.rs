//! `neo-secrets run`: a command with secrets in its environment.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

use hyper::{Method, StatusCode};

use crate::cli::answer::{items, json_of};
use crate::cli::args::Run;
use crate::cli::environment;
use crate::cli::lookup::{SECRETS, find, is_id, percent_encode};
use crate::cli::outcome::{Exit, Failure};
use crate::cli::pool::{self, Next};
use crate::cli::reveal::{Revealed, reveal};
use crate::cli::session::{Line, Session};
use crate::cli::terminal::{self, printable};
use crate::limits;
use crate::secret::Wiped;

/// Variables that change what the child runs, reads or trusts: the name of a secret alone must not
/// set one, since whoever may create a secret chooses its name and its value.
const DANGEROUS: &str = "PATH HOME SHELL USER LOGNAME TMPDIR TMP TEMP IFS ENV SHELLOPTS CDPATH PS4 \
    PROMPT_COMMAND EDITOR VISUAL BROWSER ZDOTDIR PHPRC CLASSPATH TERMINFO TZDIR NLSPATH LOCPATH \
    GCONV_PATH HOSTALIASES RES_OPTIONS KUBECONFIG CC CXX LD AR AS CFLAGS CXXFLAGS CPPFLAGS LDFLAGS \
    MAKEFLAGS GOFLAGS RUSTFLAGS";
const DANGEROUS_BEGINNINGS: &str = "_ LD_ DYLD_ GLIBC_ MALLOC_ BASH GIT_ SSH_ GNUPG PYTHON PERL RUBY \
    GEM_ BUNDLE_ NODE_ NPM_CONFIG_ YARN_ LUA_ PHP_INI JAVA_ JDK_ MAVEN_ GRADLE_ DOTNET_ COMPLUS_ \
    CARGO_ RUSTC RUSTUP_ GO111 GOPROXY PIP_ OPENSSL_ SSL_CERT_ DOCKER_ BUILDKIT_ LESS TERM XDG_ \
    NEO_SECRETS_";
const DANGEROUS_ENDINGS: &str = "_PROXY _CA_BUNDLE _CA_CERTS PAGER _EDITOR _WRAPPER _OPTS _OPTIONS \
    _ENDPOINT_URL _PRELOAD _LIBRARY_PATH _HOOKS _INIT _STARTUP _CONFIG_FILE";
/// What begins dangerously, and is no more than a credential.
const HARMLESS: &str = "GIT_TOKEN GIT_PASSWORD GIT_USERNAME NPM_TOKEN NODE_AUTH_TOKEN \
    CARGO_REGISTRY_TOKEN DOCKER_USERNAME DOCKER_PASSWORD DOCKER_TOKEN";

/// A secret, and the variable that it goes into.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    /// What the user typed, or the name in the list.
    secret: String,
    /// The id, where it is known already.
    id: Option<String>,
    variable: String,
}

/// A secret of the list.
struct Listed {
    id: String,
    name: String,
}

/// The command with its environment; the values stand in it from here on, and nothing but its start
/// may follow.
pub(crate) async fn prepare(command: &Run, mut session: Session) -> Result<Command, Failure> {
    let Run { secrets, prefix, all, command } = command;
    let named = secrets.iter().map(|text| wanted(text)).collect::<Result<Vec<_>, _>>()?;
    let prefix = if *all { Some("") } else { prefix.as_deref() };
    if named.is_empty() && prefix.is_none() {
        return Err(Failure::usage("no secret is named").advice(
            "type --secret NAME[=VARIABLE], --prefix TEXT or --all, and the command after --",
        ));
    }
    session.check_reveals().await?;
    let listed = match prefix {
        Some(prefix) => list(session.line().await?, prefix).await?,
        None => Vec::new(),
    };
    let wanted = merge(named, listed, prefix.unwrap_or_default())?;
    let values = fetch_all(session, wanted).await?;
    let mut words = command.iter();
    let program = words.next().ok_or_else(|| Failure::usage("no command is given"))?;
    let mut child = Command::new(program);
    child.args(words);
    for name in environment::VARIABLES {
        child.env_remove(name);
    }
    for (variable, value) in &values {
        child.env(variable, value.expose());
    }
    Ok(child)
}

/// Replaces this process by the command, which so gets every signal itself and ends with its own
/// exit code; returns only where it can't be started.
pub(crate) fn start(mut child: Command) -> Failure {
    let error = child.exec();
    let program = printable(&child.get_program().to_string_lossy());
    let failure = Failure::new(
        match error.kind() {
            ErrorKind::NotFound => Exit::CommandNotFound,
            _ => Exit::CommandNotStarted,
        },
        format!("cannot start {program}: {error}"),
    );
    match error.kind() {
        ErrorKind::ArgumentListTooLong => failure
            .advice("its arguments and environment are too long together: name fewer secrets"),
        _ => failure,
    }
}

/// What `--secret` names.
fn wanted(text: &str) -> Result<Wanted, Failure> {
    let (secret, variable) = match text.split_once('=') {
        Some((secret, variable)) if is_variable(variable) => (secret, variable.to_owned()),
        Some((_, variable)) => {
            let message = format!("--secret {text:?}: {variable:?} is no variable's name");
            return Err(Failure::usage(message).advice(
                "expected letters, digits and `_`, no digit first: --secret NAME=VARIABLE",
            ));
        }
        None if is_id("sec_", text) => {
            return Err(Failure::usage(format!("--secret {text}: an id names no variable"))
                .advice(format!("type --secret {text}=VARIABLE")));
        }
        None => (text, derived(text, text)?),
    };
    Ok(Wanted { secret: secret.to_owned(), id: None, variable })
}

fn is_variable(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty()
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(fits)
}

/// The variable for a secret: `rest` of its name in upper case, `_` for all but letters and digits.
fn derived(secret: &str, rest: &str) -> Result<String, Failure> {
    let fits = |character: char| match character.to_ascii_uppercase() {
        fits if fits.is_ascii_alphanumeric() => fits,
        _ => '_',
    };
    let variable: String = rest.chars().map(fits).collect();
    let refused = |why: &str| {
        Failure::usage(format!(
            "the secret {secret:?} would go into the variable {variable:?}, {why}"
        ))
        .advice(format!("name another: --secret {secret}=VARIABLE"))
    };
    if !is_variable(&variable) {
        return Err(refused("which is no variable's name"));
    }
    if is_dangerous(&variable) {
        return Err(refused("which decides what the command runs, reads or trusts"));
    }
    if std::env::var_os(&variable).is_some() {
        return Err(refused("which is set already"));
    }
    Ok(variable)
}

fn is_dangerous(variable: &str) -> bool {
    let any = |list: &str, holds: &dyn Fn(&str) -> bool| list.split(' ').any(holds);
    let dangerous = any(DANGEROUS, &|name| variable == name)
        || any(DANGEROUS_BEGINNINGS, &|beginning| variable.starts_with(beginning))
        || any(DANGEROUS_ENDINGS, &|ending| variable.ends_with(ending));
    dangerous && !any(HARMLESS, &|name| variable == name)
}

/// Those that are named, and those listed that are not named as well. No two may go into one
/// variable.
fn merge(named: Vec<Wanted>, listed: Vec<Listed>, prefix: &str) -> Result<Vec<Wanted>, Failure> {
    let mut wanted = named;
    let named = wanted.len();
    for Listed { id, name } in listed {
        let is_named = |wanted: &Wanted| wanted.secret == name || wanted.secret == id;
        if wanted.iter().take(named).any(is_named) {
            continue;
        }
        let variable = derived(&name, name.strip_prefix(prefix).unwrap_or(&name))?;
        wanted.push(Wanted { secret: name, id: Some(id), variable });
    }
    let mut taken = BTreeMap::new();
    for Wanted { secret, variable, .. } in &wanted {
        if let Some(other) = taken.insert(variable, secret) {
            let message = format!("{other:?} and {secret:?} would both go into {variable}");
            return Err(Failure::usage(message)
                .advice("name another variable for one of them: --secret NAME=VARIABLE"));
        }
    }
    if wanted.is_empty() {
        let message = "no secret has such a name".to_owned();
        return Err(Failure::new(Exit::NotFoundOrConflict, message)
            .advice("neo-secrets secrets list --prefix TEXT shows the names"));
    }
    Ok(wanted)
}

/// The secrets whose names begin so, but for the expired ones, whose values nobody gets.
async fn list(line: &mut Line, prefix: &str) -> Result<Vec<Listed>, Failure> {
    let limit = limits::PAGE_ITEMS_MAX;
    let mut filter = String::new();
    if !prefix.is_empty() {
        filter = format!("&prefix={}", percent_encode(prefix));
    }
    let (mut listed, mut offset, mut expired) = (BTreeMap::new(), 0, 0);
    loop {
        let path = format!("{SECRETS}?limit={limit}&offset={offset}{filter}&detail=full");
        let answer = line.call(Method::GET, &path, None, None, StatusCode::OK).await?;
        let body = json_of(&answer)?;
        let items = items(&body, "secrets");
        for item in items {
            let (Some(id), Some(name)) = (item["id"].as_str(), item["name"].as_str()) else {
                return Err(Failure::error("the server's list has an item without id or name"));
            };
            match item["expired"].as_bool() {
                Some(true) => expired += 1,
                _ => {
                    listed.insert(id.to_owned(), name.to_owned());
                }
            }
        }
        offset += items.len();
        let total = body["pagination"]["total"].as_u64().unwrap_or_default();
        let seen = u64::try_from(offset).unwrap_or(u64::MAX);
        if listed.len() > limits::VARIABLES_MAX {
            let message = format!("more than {} secrets for one command", limits::VARIABLES_MAX);
            return Err(Failure::usage(message).advice("--prefix TEXT takes fewer"));
        }
        if items.is_empty() || seen >= total {
            break;
        }
    }
    if expired > 0 {
        terminal::warn(&format!("warning: {expired} expired secrets are left out"));
    }
    Ok(listed.into_iter().map(|(id, name)| Listed { id, name }).collect())
}

/// All values, or none.
async fn fetch_all(session: Session, wanted: Vec<Wanted>) -> Result<Vec<(String, Wiped)>, Failure> {
    let count = wanted.len();
    let work = async |line: &mut Line, wanted: Wanted| {
        let result = fetch(line, wanted).await;
        let next = if result.is_ok() { Next::Continue } else { Next::Stop };
        (result, next)
    };
    let results = pool::each(session.into_line(), wanted, work, || {}).await;
    let values = results.into_iter().flatten().collect::<Result<Vec<_>, _>>()?;
    if values.len() < count {
        return Err(Failure::error("interrupted: the command was not started"));
    }
    Ok(values)
}

async fn fetch(line: &mut Line, wanted: Wanted) -> Result<(String, Wiped), Failure> {
    let Wanted { secret, id, variable } = wanted;
    let id = match id {
        Some(id) => id,
        None => find(line, &secret).await?,
    };
    let named = |failure: Failure| failure.detail(format!("the secret: {}", printable(&secret)));
    let Revealed { value, version: _ } = reveal(line, &id).await.map_err(named)?;
    if value.expose().contains('\0') {
        let message = format!("the value of {secret:?} has a NUL byte, which no variable can hold");
        return Err(Failure::error(message));
    }
    Ok((variable, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(names: &[&str]) -> Vec<Listed> {
        names
            .iter()
            .map(|name| Listed { id: format!("id-{name}"), name: (*name).to_owned() })
            .collect()
    }

    fn variables(named: &[&str], names: &[&str], prefix: &str) -> Result<Vec<String>, String> {
        let named = named.iter().map(|text| wanted(text).map_err(|failure| failure.message));
        let named = named.collect::<Result<Vec<_>, _>>()?;
        let merged = merge(named, listed(names), prefix).map_err(|failure| failure.message)?;
        Ok(merged.into_iter().map(|wanted| wanted.variable).collect())
    }

    #[test]
    fn names_become_variables_and_a_prefix_is_left_out() {
        assert_eq!(variables(&["db-password"], &[], "").unwrap(), ["DB_PASSWORD"]);
        assert_eq!(variables(&["a.b-c_1=Token"], &[], "").unwrap(), ["Token"]);
        assert_eq!(variables(&[], &["app.key", "app.url"], "app.").unwrap(), ["KEY", "URL"]);
        // One that is named and listed goes where it was said to go, once.
        assert_eq!(
            variables(&["app.key=K"], &["app.key", "app.url"], "app.").unwrap(),
            ["K", "URL"]
        );
    }

    #[test]
    fn two_secrets_never_share_a_variable() {
        let message = variables(&[], &["db-key", "db.key"], "").unwrap_err();
        assert_eq!(message, r#""db-key" and "db.key" would both go into DB_KEY"#);
        variables(&["db-key=OTHER"], &["db-key", "db.key"], "").unwrap();
        variables(&["a=X", "b=X"], &[], "").unwrap_err();
    }

    #[test]
    fn what_decides_what_the_child_runs_is_set_only_by_name() {
        for name in [
            "path",
            "ld.preload",
            "LD_LIBRARY_PATH",
            "bash-env",
            "node_options",
            "node-tls-reject-unauthorized",
            "git.external.diff",
            "git-pager",
            "lua_init",
            "lessopen",
            "maven.opts",
            "npm_config_registry",
            "aws-endpoint-url",
            "requests-ca-bundle",
            "all.proxy",
            "1st",
        ] {
            variables(&[name], &[], "").unwrap_err();
            variables(&[], &[name], "").unwrap_err();
        }
        variables(&[], &["app_JAVA_OPTIONS"], "app").unwrap_err();
        // What is set already is not replaced: cargo sets this one for its tests.
        let message = variables(&["cargo"], &[], "").unwrap_err();
        assert!(message.ends_with("which is set already"), "{message}");
        assert_eq!(variables(&["p=PATH"], &[], "").unwrap(), ["PATH"]);
        for text in ["a=", "a=1X", "a=B-C", "a=B=C", "sec_AbCdEfGhIjKlMnOpQrStUv-_"] {
            variables(&[text], &[], "").unwrap_err();
        }
        assert_eq!(variables(&[], &["git-token"], "").unwrap(), ["GIT_TOKEN"]);
    }
}
