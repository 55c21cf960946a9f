mod commands;
mod functions;
mod manual;
mod profiles;
mod reports;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::files::tests::Folder;
use crate::profile::Profile;
use crate::tests::host::{Evidence, Host, Reply, first_line};

fn words(line: &str) -> Vec<OsString> {
    ["neo-secrets"].into_iter().chain(line.split_whitespace()).map(OsString::from).collect()
}

fn parsed(line: &str) -> CommandLine {
    match parse(&words(line)) {
        Ok(command_line) => command_line,
        Err(Unparsed::Failure(failure)) => panic!("{line}: {}", failure.to_text()),
        Err(Unparsed::Text(text)) => panic!("{line}: {text}"),
    }
}

fn usage(line: &str) -> String {
    match parse(&words(line)) {
        Err(Unparsed::Failure(failure)) => {
            assert_eq!(failure.exit, Exit::Usage, "{line}");
            failure.to_text()
        }
        Err(Unparsed::Text(text)) => panic!("{line}: {text}"),
        Ok(_) => panic!("{line} is taken"),
    }
}

fn environment(folder: &Folder) -> Environment {
    Environment { config_folder: Some(folder.join("config")), ..Environment::default() }
}

/// Runs a command beside the server of a test.
async fn run_line(line: String, environment: Environment) -> Result<Done, Failure> {
    let run = move || super::run(&parsed(&line), &environment);
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn key_file(folder: &Folder) -> String {
    let path = folder.join("admin.key");
    crate::files::create(&path, b"neo_the-key-of-this-test\n").unwrap();
    path.to_str().unwrap().to_owned()
}

/// What a person sees on a terminal.
fn human(done: &Done) -> String {
    shown(done, Some(500))
}

/// What a pipe gets.
fn piped(done: &Done) -> String {
    shown(done, None)
}

fn shown(done: &Done, terminal: Option<usize>) -> String {
    let style = Style { terminal, color: false, quiet: false, now: system_time() };
    let mut bytes = Vec::new();
    let mut out = |part: &[u8]| {
        bytes.extend_from_slice(part);
        Ok(())
    };
    done.shown.page.write(&style, &mut out).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn json(done: &Done) -> Value {
    serde_json::from_slice(&done.shown.json).unwrap()
}

#[test]
fn global_options_are_taken_on_either_side_of_a_command() {
    for line in [
        "--url https://h:1 --json verify",
        "verify --url https://h:1 --json",
        "secrets list --url https://h:1 --json",
        "--json claim --owner-key o.pem --url https://h:1",
    ] {
        let CommandLine { global, .. } = parsed(line);
        assert!(global.json && global.url.as_deref() == Some("https://h:1"), "{line}");
    }
}

#[test]
fn neither_a_key_nor_a_value_is_taken_from_the_command_line_or_repeated() {
    let key = format!("neo_{}", "Ab1-_".repeat(9));
    for line in [
        format!("keys revoke {key}"),
        format!("secrets list --key {key}"),
        format!("secrets list --key={key}"),
        format!("--pin {key} verify"),
    ] {
        let text = usage(&line);
        assert!(!text.contains("Ab1") && text.contains("--key-file"), "{text}");
    }
    for line in ["secrets create n sesame", "secrets update n sesame"] {
        let stray = match parsed(line).command {
            Command::Secrets(args::Secrets::Create(create)) => create.stray,
            Command::Secrets(args::Secrets::Update(update)) => update.stray,
            _ => panic!("{line}"),
        };
        let failure = value::refuse_stray(&stray, "secrets create").unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        let shown = format!("{} {} {stray:?}", failure.to_text(), failure.to_json());
        assert!(!shown.contains("sesame") && shown.contains("--from-file"), "{shown}");
    }
    for line in [
        "secrets create n --value sesame",
        "secrets create n --value=sesame",
        "secrets create --value=sesame n",
        "secrets update n --value sesame --description d",
        "secrets get n --value sesame",
    ] {
        let text = usage(line);
        assert!(!text.contains("sesame") && text.contains("--from-file"), "{text}");
    }
    // A name that only begins like a key is a name.
    parsed("secrets get neo_service_layer_database_password");
}

#[test]
fn wrong_command_lines_are_usage_errors() {
    for (line, expected) in [
        ("", "Usage:"),
        ("secrets list --limit 0", "--limit"),
        ("secrets list --limit 101", "--limit"),
        ("secrets update n --description a --clear-description", "--clear-description"),
        ("secrets create n --tag novalue", "KEY=VALUE"),
        ("secrets create n --expires-at tomorrow", "2026-01-31T12:00:00Z"),
        ("secrets rollback n", "--to"),
        ("secrets rollback n --to 0", "--to"),
        ("keys create n", "--permission"),
        ("keys create n --permission root", "reveal"),
        ("keys rotate n --overlap 8d", "at most a week"),
        ("keys rotate n --overlap 1y", "90, 90s, 15m, 24h, 7d"),
        ("claim", "--owner-key"),
        ("--pin AAAA verify", "base64 of 32 bytes"),
        ("report", "FILE"),
    ] {
        let text = usage(line);
        assert!(text.contains(expected), "{line}: {text}");
    }
}

#[test]
fn an_empty_variable_is_absent_and_a_relative_config_home_is_ignored() {
    let read = |pairs: &'static [(&str, &str)]| {
        Environment::read(move |name| {
            let mut pairs = pairs.iter();
            pairs.find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    };
    let folder = |pairs| read(pairs).config_folder;
    assert_eq!(read(&[("NEO_SECRETS_URL", "")]).url, None);
    assert_eq!(
        folder(&[("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")]),
        Some(PathBuf::from("/x/neo-secrets"))
    );
    assert_eq!(
        folder(&[("XDG_CONFIG_HOME", "x"), ("HOME", "/h")]),
        Some(PathBuf::from("/h/.config/neo-secrets"))
    );
    assert_eq!(folder(&[("HOME", "")]), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_pin_nothing_is_connected_to_and_the_message_says_what_to_type() {
    let (folder, host) =
        (Folder::new(), Host::start(vec![Evidence::Genuine], vec![Reply::Ok("{}")]).await);
    let files = host.files(&folder.0).join(" ");
    let line = format!("secrets list --url {} {files} --key-file {}", host.url, key_file(&folder));
    let failure = run_line(line, environment(&folder)).await.err().unwrap();
    assert_eq!(failure.exit, Exit::Usage);
    let text = failure.to_text();
    for option in ["--profile", "--pin ", "--pin-first-use"] {
        assert!(text.contains(option), "{text}");
    }
    assert!(host.connections().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_use_pins_the_instance_in_the_profile() {
    let folder = Folder::new();
    let list = r#"{"secrets":[],"pagination":{"total":0,"limit":20,"offset":0}}"#;
    let host = Host::start(vec![Evidence::Genuine], vec![Reply::Ok(list)]).await;
    let (files, key) = (host.files(&folder.0).join(" "), key_file(&folder));
    let profile = folder.join("p.json");
    let name = format!("--profile {}", profile.display());
    let verify = format!("{name} verify {} {files} --key-file {key} --save-profile", host.url);
    let done = run_line(verify, environment(&folder)).await.ok().unwrap();
    assert_eq!(json(&done)["simulated"], true);
    assert_eq!(json(&done)["pinned"], false);
    assert!(human(&done).contains("SIMULATED"));
    assert_eq!(Profile::read(&profile).unwrap().instance_key, None);

    let failure =
        run_line(format!("{name} secrets list"), environment(&folder)).await.err().unwrap();
    assert_eq!(failure.exit, Exit::Usage);
    let first_use = format!("{name} secrets list --pin-first-use");
    let done = run_line(first_use, environment(&folder)).await.ok().unwrap();
    assert_eq!(json(&done)["simulated"], true);
    assert_eq!(Profile::read(&profile).unwrap().instance_key, Some(host.instance_key()));
    assert!(run_line(format!("{name} secrets list"), environment(&folder)).await.is_ok());

    let other = folder.join("q.json");
    let name = format!("--profile {} --pin-first-use", other.display());
    let verify = format!("{name} verify {} {files} --key-file {key} --save-profile", host.url);
    let shown = human(&run_line(verify, environment(&folder)).await.ok().unwrap());
    let pinned = format!("pinned {} in {}", host.instance_key(), other.display());
    assert!(shown.contains(&pinned) && !shown.contains("no instance key was pinned"), "{shown}");
    // The profile has what was typed: what to type next names it alone.
    assert!(
        shown.contains(&format!("next: neo-secrets --profile {} secrets list", other.display()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_listed_and_one_is_brought_back() {
    const ID: &str = "sec_AbCdEfGhIjKlMnOpQrStUv-_";
    let page = r#"{"secrets":[{"id":"sec_AbCdEfGhIjKlMnOpQrStUv-_","name":"db"}],
        "pagination":{"total":1,"limit":100,"offset":0}}"#;
    let versions = r#"{"versions":[
        {"version":11,"createdAt":"2026-02-01T00:00:00Z","createdBy":"key_b"},
        {"version":10,"createdAt":"2026-01-01T00:00:00Z","createdBy":"key_a"}]}"#;
    let secret = r#"{"id":"sec_AbCdEfGhIjKlMnOpQrStUv-_","name":"db","description":null,
        "createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-03-01T00:00:00Z","version":12,
        "tags":{},"expiresAt":null,"expired":false}"#;
    let folder = Folder::new();
    let replies = [page, versions, secret].map(Reply::Ok).to_vec();
    let host = Host::start(vec![Evidence::Genuine], replies).await;
    let (files, key) = (host.files(&folder.0).join(" "), key_file(&folder));
    let pin = host.instance_key();
    let options = format!("--url {} --pin {pin} {files} --key-file {key}", host.url);
    let done = run_line(format!("secrets versions db {options}"), environment(&folder));
    let done = done.await.ok().unwrap();
    assert_eq!(piped(&done), "11\t2026-02-01T00:00:00Z\tkey_b\n10\t2026-01-01T00:00:00Z\tkey_a\n");
    assert!(human(&done).starts_with("VERSION  CREATED"), "{}", human(&done));
    let shown = json(&done);
    assert_eq!((&shown["simulated"], &shown["versions"][1]["version"]), (&true.into(), &10.into()));

    let line = format!("secrets rollback {ID} --to 10 --if-match 11 {options}");
    let done = run_line(line, environment(&folder)).await.ok().unwrap();
    assert!(human(&done).starts_with("brought back version 10 of db\n"));
    assert!(piped(&done).contains("version\t12\n"), "{}", human(&done));
    assert_eq!(json(&done)["version"], 12);
    assert_eq!(host.count(&format!("GET /v1/secrets/{ID}/versions ")), 1);
    let seen = host.connections();
    let last = seen.last().unwrap().requests.last().unwrap();
    assert_eq!(first_line(last), format!("POST /v1/secrets/{ID}/rollback HTTP/1.1"));
    assert!(last.contains("if-match: \"11\"\r\n"), "{last}");
    assert!(last.ends_with("\r\n\r\n{\"version\":10}"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_written_only_after_the_verification() {
    let folder = Folder::new();
    for (evidence, exit) in [(Evidence::Debug, Some(Exit::Refused)), (Evidence::Genuine, None)] {
        let host = Host::start(vec![evidence], vec![]).await;
        let (files, path) = (host.files(&folder.0).join(" "), folder.join("server.pem"));
        let line = format!("verify {} {files} --write-cert {}", host.url, path.display());
        let result = run_line(line, environment(&folder)).await;
        assert_eq!(result.as_ref().err().map(|failure| failure.exit), exit);
        assert_eq!(path.exists(), exit.is_none());
        if let Err(failure) = result {
            let json = failure.to_json();
            assert_eq!(json["error"]["step"], 7);
            assert_eq!(json["error"]["field"], "POLICY.DEBUG");
            assert_eq!(json["error"]["simulated"], true);
            assert!(failure.to_text().contains("SIMULATED"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_goes_before_the_environment_and_that_before_the_profile() {
    let folder = Folder::new();
    let host = Host::start(vec![Evidence::Genuine], vec![]).await;
    let files = host.files(&folder.0).join(" ");
    let profile = folder.join("p.json");
    let save =
        format!("--profile {} verify {} {files} --save-profile", profile.display(), host.url);
    run_line(save, environment(&folder)).await.ok().unwrap();
    let resolve = |line: &str, url: Option<&str>| {
        let profile = Some(profile.clone().into_os_string());
        let url = url.map(OsString::from);
        let environment = Environment { url, profile, ..environment(&folder) };
        let CommandLine { global, .. } = parsed(line);
        let settings = Settings::resolve(&global, None, &environment, ProfileUse::Read);
        settings.map(|settings| settings.url.to_string())
    };
    assert_eq!(resolve("verify", None).unwrap(), host.url.to_string());
    assert_eq!(resolve("verify", Some("https://env:1")).unwrap(), "https://env:1");
    assert_eq!(
        resolve("verify --url https://flag:1", Some("https://env:1")).unwrap(),
        "https://flag:1"
    );
    assert_eq!(resolve("verify --profile nobody", None).unwrap_err().exit, Exit::Usage);
    // A file of this folder, which is the package's, is not what a name means.
    let file = resolve("verify --profile Cargo.toml", None).unwrap_err().to_text();
    assert!(file.contains("is meant by --profile ./Cargo.toml"), "{file}");
    let key_file = Some(PathBuf::from("zzz"));
    let by_variable = Environment { key_file, ..environment(&folder) };
    let line = format!("--profile {} secrets list --pin-first-use", profile.display());
    let text = run_line(line, by_variable).await.err().unwrap().to_text();
    assert!(text.contains("cannot read zzz") && text.contains("NEO_SECRETS_KEY_FILE"), "{text}");
    assert_eq!(resolve("verify", Some("http://env:1")).unwrap_err().exit, Exit::Usage);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_instance_gets_no_key_and_is_not_pinned() {
    let folder = Folder::new();
    let host = Host::start(vec![Evidence::Sealed], vec![Reply::Ok("{}")]).await;
    let (files, key) = (host.files(&folder.0).join(" "), key_file(&folder));
    let profile = folder.join("p.json");
    let name = format!("--profile {} --pin-first-use", profile.display());
    let verify = format!("{name} verify {} {files} --key-file {key} --save-profile", host.url);
    run_line(verify, environment(&folder)).await.ok().unwrap();
    assert_eq!(Profile::read(&profile).unwrap().instance_key, None);
    let failure =
        run_line(format!("{name} secrets list"), environment(&folder)).await.err().unwrap();
    assert_eq!(failure.exit, Exit::Error);
    assert!(failure.message.contains("is sealed"), "{}", failure.message);
    assert_eq!(Profile::read(&profile).unwrap().instance_key, None);
    assert_eq!(host.count("GET /v1/attestation"), 2);
    assert_eq!(host.count("GET /v1/secrets"), 0);
}

/// What is no instance, and an instance that is refused, leave nothing behind of a claim.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_claim_leaves_no_key_pair() {
    let folder = Folder::new();
    let pair = folder.join("owner.pem");
    for (evidence, expected) in [
        (Evidence::Debug, "POLICY.DEBUG"),
        (Evidence::Garbage, "is this a Neo Secrets server? Check the address"),
    ] {
        let host = Host::start(vec![evidence], vec![]).await;
        let files = host.files(&folder.0).join(" ");
        let line = format!("claim {} {files} --owner-key {}", host.url, pair.display());
        let failure = run_line(line, environment(&folder)).await.err().unwrap();
        assert_eq!(failure.exit, Exit::Refused);
        let text = failure.to_text();
        assert!(text.contains(expected), "{text}");
        // What shows the steps is told with what was typed.
        let explain = format!("neo-secrets --url {} {files} verify --explain", host.url);
        assert!(text.contains(&explain), "{explain} in {text}");
        assert!(!pair.exists());
    }
}

/// A file that can't be used is named as it was typed; the other one of the two is recognised.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_is_named_with_its_option() {
    let folder = Folder::new();
    let host = Host::start(vec![Evidence::Genuine], vec![]).await;
    let files = host.files(&folder.0).join(" ");
    let reference = folder.join("--reference");
    let bad = folder.join("tcb99.json");
    fs::write(&bad, "{}").unwrap();
    let policy = files.split(' ').skip_while(|word| *word != "--policy").nth(1).unwrap();
    for (from, to, parts) in [
        (policy, &bad, ["--policy ", "tcb99.json: the policy is malformed"]),
        (policy, &reference, ["--policy ", "this looks like reference.json, which --reference"]),
    ] {
        let files = files.replace(from, to.to_str().unwrap());
        let line = format!("verify {} {files}", host.url);
        let text = run_line(line, environment(&folder)).await.err().unwrap().to_text();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
    assert!(host.connections().is_empty());
}

/// A refusal at step 11 names the pin and its profile only where it is the pin that refuses.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_instance_is_told_by_what_refuses_it() {
    let folder = Folder::new();
    let host = Host::start(vec![Evidence::Genuine], vec![]).await;
    let files = host.files(&folder.0).join(" ");
    let (path, policy) = (folder.join("p.json"), folder.join("listed.json"));
    let verify = format!("--profile {} verify {} {files}", path.display(), host.url);
    let save = format!("{verify} --pin {} --save-profile", host.instance_key());
    run_line(save, environment(&folder)).await.ok().unwrap();
    let mut profile: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut listed: Value = serde_json::from_str(profile["policy"].as_str().unwrap()).unwrap();
    listed["instanceKeys"] = serde_json::json!([format!("{}=", "A".repeat(43))]);
    fs::write(&policy, listed.to_string()).unwrap();
    profile["instanceKey"] = listed["instanceKeys"][0].clone();
    let other = folder.join("other.json");
    fs::write(&other, profile.to_string()).unwrap();

    let told = async |line: String| {
        let failure = run_line(line, environment(&folder)).await.err().unwrap();
        assert_eq!((failure.exit, failure.step()), (Exit::Refused, Some(11)));
        failure.to_text()
    };
    let text = told(format!("--profile {} verify", other.display())).await;
    assert!(text.contains(&format!("the pin stands in {}", other.display())), "{text}");
    let pin = listed["instanceKeys"][0].as_str().unwrap();
    let text = told(format!("--profile {} --pin {pin} verify", path.display())).await;
    assert!(text.contains("another instance than the pinned one"), "{text}");
    assert!(!text.contains("stands in"), "{text}");
    let line = format!("--profile {} --policy {} verify", path.display(), policy.display());
    let text = told(line).await;
    assert!(text.contains("policy.json lists the instances"), "{text}");
    assert!(!text.contains("pinned"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_keeps_no_pin_of_an_instance_elsewhere() {
    let folder = Folder::new();
    let list = r#"{"secrets":[],"pagination":{"total":0,"limit":20,"offset":0}}"#;
    let own = Host::start(vec![Evidence::Genuine], vec![]).await;
    let other = Host::start(vec![Evidence::Genuine], vec![Reply::Ok(list)]).await;
    let (files, key) = (own.files(&folder.0).join(" "), key_file(&folder));
    let path = folder.join("p.json");
    let name = format!("--profile {}", path.display());
    let verify = format!("{name} verify {} {files} --key-file {key} --save-profile", own.url);
    run_line(verify, environment(&folder)).await.ok().unwrap();
    let before = Profile::read(&path).unwrap();
    let list = format!("{name} secrets list --url {} --pin-first-use", other.url);
    run_line(list, environment(&folder)).await.ok().unwrap();
    assert_eq!(Profile::read(&path).unwrap(), before);
    // Nor does another instance take its place, with its key file.
    let verify = format!("{name} verify {} {files} --save-profile", other.url);
    let failure = run_line(verify, environment(&folder)).await.err().unwrap();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.message.contains(&own.url.to_string()), "{}", failure.message);
    assert_eq!(Profile::read(&path).unwrap(), before);
}

#[test]
fn a_key_in_the_environment_is_never_repeated() {
    let key = OsString::from(format!("neo_{}", "Ab1-_".repeat(9)));
    let none = Environment::default;
    for environment in [
        Environment { url: Some(key.clone()), ..none() },
        Environment { profile: Some(key.clone()), config_folder: Some("/c".into()), ..none() },
        Environment { key_file: Some(key.clone().into()), ..none() },
    ] {
        let line = parsed("secrets list --pin-first-use");
        let failure = super::run(&line, &environment).err().unwrap();
        assert_eq!(failure.exit, Exit::Usage);
        let shown = format!("{} {}", failure.to_text(), failure.to_json());
        assert!(!shown.contains("Ab1") && shown.contains("NEO_SECRETS_"), "{shown}");
    }
}
