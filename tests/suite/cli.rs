//! The command line as a person and as a script use it: one newcomer's path, many secrets at once,
//! values in a child's environment, terminals, completions and the manual.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use neo_secrets_tests::appliance::{Appliance, CONFIG, Home, Outcome, chip, program};
use serde_json::Value;
use snp_simulator::Product;

pub const REVEALING: &str = "seal = \"firmware\"\nreveal = \"by-permission\"\nwitnesses = []\nquorum = 0\nowner_key = \"any\"\n";

pub fn home(config: &str) -> Home {
    let home = Home::new(&chip(Product::Genoa), config);
    home.write_client_files();
    home
}

/// Runs a command line, its words separated by blanks.
pub fn cli(home: &Home, line: &str) -> Outcome {
    home.cli(&line.split_whitespace().collect::<Vec<_>>(), "")
}

const FILES: &str = "--reference client/reference.json --policy client/policy.json \
    --trust-simulated client/simulated-root.der";

/// Claims the instance with our command line, which leaves the profile `default`.
pub fn claim(home: &Home, appliance: &Appliance<'_>) {
    let line = format!("claim {} {FILES} --owner-key owner.pem --out-dir keys", appliance.url());
    cli(home, &line).says(0, &["claimed (SIMULATED)", "keys create", "profile export"]);
}

fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what} is not installed");
}

fn env_file(home: &Home, name: &str, count: usize) {
    let line = |n: usize| format!("export KEY_{n:04}=\"value {n}\\n\" # {n}\n");
    std::fs::write(home.path(name), (0..count).map(line).collect::<String>()).unwrap();
}

fn total(home: &Home, prefix: &str) -> u64 {
    let listed = cli(home, &format!("--json secrets list --limit 1 --prefix {prefix}"));
    listed.says(0, &[]).json()["pagination"]["total"].as_u64().unwrap()
}

#[test]
fn a_newcomers_path_from_the_claim_to_a_colleagues_first_secret() {
    let home = home(CONFIG);
    let appliance = home.start();
    let unclaimed = cli(&home, &format!("status {} {FILES}", appliance.url()));
    unclaimed.says(1, &["unclaimed", "--owner-key owner.pem"]);
    claim(&home, &appliance);
    cli(&home, "status").says(0, &["SIMULATED", "serving", "admin, which includes", "firmware"]);

    let made = cli(
        &home,
        "keys create ci --permission read,write --secret db-* --expires-at 30d --out ci.key",
    );
    made.says(0, &["db-*", "--key-file ci.key secrets list"]);
    cli(&home, "profile export --out colleague.json").says(0, &["it holds no key"]);
    let profile = std::fs::read_to_string(home.path("colleague.json")).unwrap();
    assert!(!profile.contains("keys") && !profile.contains("neo_"), "{profile}");

    // The colleague, with a profile of another name.
    cli(&home, "profile import colleague.json theirs").says(2, &["--yes", "SIMULATED"]);
    let kept = cli(&home, "profile import colleague.json theirs --yes");
    kept.says(0, &["--profile theirs verify --key-file FILE --save-profile"]);
    cli(&home, "--profile theirs verify --key-file ci.key --save-profile").says(0, &["profile: "]);
    home.cli(&["--profile", "theirs", "secrets", "create", "db-1"], "x").says(0, &["created db-1"]);
    let denied = home.cli(&["--profile", "theirs", "secrets", "create", "web-1"], "x");
    denied.says(4, &["does not reach secrets of that name"]);
    let denied = cli(&home, "--profile theirs secrets delete db-1");
    let advice = "neo-secrets --profile theirs keys create NAME --permission read,write,admin --secret \
                  'db-*' --out NAME.key";
    denied.says(4, &["lacks the permission admin: it has read, write on secrets db-*", advice]);
    std::fs::write(home.path("two.env"), "db-2=x\nweb-2=y\n").unwrap();
    let dry = cli(&home, "--profile theirs import two.env --dry-run");
    dry.says(1, &["db-2\tcreate", "web-2\tfailed", "does not reach", "1 of 2 would not be"]);
    cli(&home, "--profile theirs secrets get nothing").says(5, &["secrets list --prefix"]);

    // A rotation with time to change over.
    cli(&home, "keys rotate ci --overlap 1h --out new.key")
        .says(0, &["new.key", "the old key works until"]);
    for key in ["ci.key", "new.key"] {
        cli(&home, &format!("--key-file {key} secrets list")).says(0, &["db-1"]);
    }
    cli(&home, "keys rotate ci --overlap 8d --out newer.key").says(2, &["at most a week"]);
    assert!(!home.path("newer.key").exists());
    let keys = cli(&home, "keys list").out;
    let until = keys.lines().find(|row| row.contains("\tci\t")).unwrap();
    assert!(until.ends_with('Z'), "until when the old key works: {until}");
    // The key in use: what the profile has to be told, and which of two keys lives.
    let next = "verify --key-file admin-2.key --save-profile";
    cli(&home, "keys rotate admin --overlap 300 --out admin-2.key")
        .says(0, &["the profile still uses ", next]);
    cli(&home, "keys rotate admin --overlap 5m --out admin-3.key")
        .says(0, &["warning: two keys worked until now: the one in ", "the other one does not"]);
    cli(&home, "--key-file admin-2.key secrets list").says(4, &[]);
    cli(&home, "--key-file admin-3.key secrets list").says(0, &[]);
    cli(&home, "keys rotate admin --out x").says(5, &["keys rotate admin --overlap 5m --out FILE"]);
    cli(&home, "keys create ci --permission reveal --out r.key")
        .says(0, &["another key has this name", "without read", "secrets value ID"]);
    cli(&home, "keys revoke ci --yes").says(5, &["2 keys are named"]);
    let made = cli(&home, "--json keys list").json();
    let keys = made["apiKeys"].as_array().unwrap();
    let second = keys.iter().rfind(|key| key["name"] == "ci").unwrap();
    let id = second["id"].as_str().unwrap().to_owned();
    cli(&home, &format!("keys revoke {id} --yes")).says(0, &["revoked key_"]);
    cli(&home, "keys revoke ci --yes").says(0, &["revoked key_"]);
    cli(&home, "--key-file new.key secrets list").says(4, &["--key-file FILE names another"]);
    cli(&home, "--key-file new.key status").says(0, &["unknown, revoked or expired"]);

    // Why a verification fails.
    home.edit("reference.json", |reference| {
        reference["measurements"][0]["digest"] = Value::from("ab".repeat(48));
    });
    let refused = cli(&home, "--reference client/reference.json secrets list");
    refused.says(3, &["step 8", "MEASUREMENT", "got:", "expected:", "verify --explain"]);
    let status = cli(&home, "--reference client/reference.json status");
    status.says(3, &["refused", "step 8", "verify --explain"]);
    let explained = cli(&home, "--reference client/reference.json verify --explain");
    explained.says(3, &["step  8  REFUSED", "step  9  not reached"]);
    drop(appliance);
    cli(&home, "status").says(1, &["unreachable", "is the instance running"]);
}

#[test]
fn a_thousand_secrets_are_imported_at_once_and_again() {
    let home = home(CONFIG);
    let appliance = home.start();
    claim(&home, &appliance);
    env_file(&home, "k.env", 1000);
    let dry = cli(&home, "import k.env --prefix app. --dry-run");
    dry.says(0, &["create\t1000"]);
    assert_eq!(dry.out.lines().filter(|line| line.contains("\tcreate\t")).count(), 1000);
    assert!(!dry.out.contains("value 7") && !dry.err.contains("value 7"));
    assert_eq!(total(&home, "app."), 0);

    cli(&home, "import k.env --prefix app.").says(0, &["created\t1000"]);
    assert_eq!(total(&home, "app."), 1000);
    let again = cli(&home, "import k.env --prefix app. --json");
    again.says(5, &["--update", "--skip-existing"]);
    assert_eq!(again.json()["counts"]["conflict"], 1000);
    cli(&home, "import k.env --prefix app. --skip-existing").says(0, &["skipped\t1000"]);
    cli(&home, "import k.env --prefix app. --update").says(0, &["updated\t1000"]);
    let one = cli(&home, "--json secrets get app.KEY_0999").json();
    assert_eq!((&one["version"], total(&home, "app.")), (&2.into(), 1000));

    // A key that may only write, and one that may not.
    cli(&home, "keys create w --permission write --out w.key").says(0, &[]);
    cli(&home, "keys create r --permission read --out r.key").says(0, &[]);
    env_file(&home, "few.env", 3);
    cli(&home, "--key-file w.key import few.env").says(0, &["created\t3"]);
    let denied = cli(&home, "--key-file r.key import few.env --prefix r.");
    denied.says(4, &["what stopped it: ", "permission write", "not tried"]);
    std::fs::write(home.path("bad.env"), "A=1\nB=\"unclosed\n").unwrap();
    home.cli(&["import", "-"], "A=\"unclosed")
        .says(1, &["nothing of stdin was imported: line 1: "]);
    cli(&home, "import bad.env").says(1, &["line 2: the quote", "nothing of bad.env was imported"]);
    assert_eq!(total(&home, "A"), 0);
}

#[test]
fn an_import_that_was_cut_off_is_finished_by_repeating_it() {
    let home = home(CONFIG);
    let appliance = home.start();
    claim(&home, &appliance);
    env_file(&home, "k.env", 600);
    let mut child = Command::new(program("neo-secrets"))
        .args(["import", "k.env"])
        .env_clear()
        .env("XDG_CONFIG_HOME", home.path("xdg"))
        .current_dir(home.path("."))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while total(&home, "KEY_") == 0 {}
    child.kill().unwrap();
    child.wait().unwrap();
    let cut = total(&home, "KEY_");
    let rest = cli(&home, "import k.env --skip-existing --json");
    let counts = &rest.says(0, &[]).json()["counts"];
    let counted = ["created", "skipped"].map(|name| counts[name].as_u64().unwrap());
    assert_eq!(counted.iter().sum::<u64>(), 600);
    assert!(counted[1] >= cut, "{counted:?} after {cut}");
    assert_eq!(total(&home, "KEY_"), 600);

    // The server dies instead: what is told as done is done, and nothing is told twice.
    env_file(&home, "more.env", 600);
    let import = std::thread::scope(|scope| {
        let import = scope.spawn(|| cli(&home, "import more.env --prefix more. --json"));
        while total(&home, "more.") == 0 {}
        appliance.kill();
        import.join().unwrap()
    });
    let told = import.says(1, &["--skip-existing"]).json();
    let counts = told["counts"].as_object().unwrap();
    assert_eq!(counts.values().filter_map(Value::as_u64).sum::<u64>(), 600, "{counts:?}");
    let created = counts["created"].as_u64().unwrap();
    let unknown = counts["unknown"].as_u64().unwrap();
    let appliance = home.start();
    let profile = "--url ".to_owned() + &appliance.url();
    let moved = format!("verify {profile} --profile default --save-profile");
    cli(&home, &moved).says(0, &[]);
    let there = total(&home, "more.");
    assert!((created..=created + unknown).contains(&there), "{there} of {counts:?}");
    cli(&home, "import more.env --prefix more. --skip-existing").says(0, &["created"]);
    assert_eq!(total(&home, "more."), 600);
}

#[test]
fn a_command_runs_with_values_in_its_environment_and_nothing_of_ours() {
    let home = home(REVEALING);
    let appliance = home.start();
    claim(&home, &appliance);
    home.cli(&["secrets", "create", "app.db-password"], "päss\nword\n").says(0, &[]);
    home.cli(&["secrets", "create", "app.path"], "x").says(0, &[]);
    home.cli(&["secrets", "create", "app.nul"], "a\0b").says(0, &[]);
    let run = |line: &str, script: &str| {
        let words: Vec<&str> = line.split_whitespace().chain(["--", "/bin/sh", "-c"]).collect();
        home.cli(&[&["run"], &words[..], &[script]].concat(), "")
    };
    let one = "--secret app.db-password=PW";
    let told = run(one, "printf '%s|' \"$PW\"; env | grep -c NEO_SECRETS");
    assert_eq!(told.out, "päss\nword\n|0\n", "{told:#?}");
    assert_eq!(run(one, "exit 7").code, 7);
    // A child that is ended by a signal ends us by the same: there is no one but the child.
    let ended = run(one, "kill -TERM $$");
    assert_eq!(ended.code, -15, "{ended:#?}");
    // SIGPIPE is as a shell would have it.
    assert_eq!(run(one, "yes | head -n 1; grep SigIgn /proc/self/status").out.lines().count(), 2);
    let ignored = run(one, "grep SigIgn /proc/self/status").out;
    let mask = ignored.split_whitespace().last().unwrap();
    assert_eq!(u64::from_str_radix(mask, 16).unwrap() & (1 << 12), 0, "SIGPIPE is ignored");

    run("--prefix app.", "true").says(2, &["\"PATH\"", "--secret app.path=VARIABLE"]);
    run("--prefix app. --secret app.path=X", "true").says(1, &["\"app.nul\"", "NUL byte"]);
    run("--secret nothing", "true").says(5, &["secrets list --prefix"]);
    run("--prefix zzz", "true").says(5, &["no secret has such a name"]);
    run("", "true").says(2, &["--secret NAME"]);
    let absent = cli(&home, "run --secret app.path=X -- no-such-command");
    absent.says(127, &["cannot start no-such-command"]);
    cli(&home, "run --secret app.path=X -- /etc/passwd").says(126, &["Permission denied"]);
    cli(&home, "keys create r --permission read --out r.key").says(0, &[]);
    let denied = cli(&home, "--key-file r.key run --secret app.path=X -- true");
    denied.says(4, &["permission reveal", "keys create NAME --permission read,reveal"]);

    let value = cli(&home, "secrets value app.db-password");
    assert_eq!((value.code, value.out.as_str()), (0, "päss\nword\n"));
    cli(&home, "secrets value app.nul --out value").says(0, &["version 1 of app.nul"]);
    assert_eq!(std::fs::read(home.path("value")).unwrap(), b"a\0b");
    let log = cli(&home, "audit --action secret.reveal --secret app.nul --from 1h");
    assert_eq!(log.says(0, &[]).out.lines().count(), 2, "{log:#?}");
    for event in log.out.lines() {
        let cells: Vec<&str> = event.split('\t').collect();
        assert_eq!((cells[1], cells[4], cells[5]), ("secret.reveal", "app.nul", "1"));
    }
    let denied = cli(&home, "--key-file r.key audit");
    denied.says(4, &["permission admin"]);
}

/// Runs a command line on a terminal of this width, and what it showed there.
fn on_a_terminal(home: &Home, variables: &[(&str, &str)], line: &str) -> (i32, String) {
    let command = format!("stty cols 90; exec {} {line}", program("neo-secrets").display());
    let output = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("XDG_CONFIG_HOME", home.path("xdg"))
        .env("TERM", "xterm")
        .envs(variables.iter().copied())
        .current_dir(home.path("."))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n");
    (output.status.code().unwrap(), text)
}

#[test]
fn a_terminal_gets_colours_and_columns_and_a_pipe_neither() {
    if Command::new("script").arg("--version").output().is_err() {
        return skipped("script");
    }
    let home = home(CONFIG);
    let appliance = home.start();
    claim(&home, &appliance);
    let name = format!("long-{}", "x".repeat(80));
    home.cli(&["secrets", "create", &name, "--description", "d"], "v").says(0, &[]);
    let (code, shown) = on_a_terminal(&home, &[], "secrets list");
    assert_eq!(code, 0);
    assert!(shown.contains("\x1b[1mID\x1b[0m") && shown.contains("just now"), "{shown}");
    for (variables, option) in
        [(&[("NO_COLOR", "1")][..], ""), (&[("TERM", "dumb")][..], ""), (&[][..], "--no-color")]
    {
        let (_, shown) = on_a_terminal(&home, variables, &format!("secrets list {option}"));
        assert!(!shown.contains('\x1b'), "{variables:?} {option}: {shown}");
        let row = shown.lines().find(|line| line.starts_with("sec_")).unwrap();
        assert!(row.chars().count() <= 90 && row.contains('…'), "{row}");
        assert!(row.split("  ").next().unwrap().len() == 28, "the id is whole: {row}");
    }
    let (_, empty) = on_a_terminal(&home, &[("NO_COLOR", "")], "secrets list");
    assert!(empty.contains('\x1b'), "an empty NO_COLOR is absent");
    let piped = cli(&home, "secrets list");
    assert!(piped.out.starts_with("sec_") && piped.out.contains(&format!("\t{name}\t")));
    assert_eq!(piped.out.lines().count(), 1);
    assert!(!piped.err.contains('\x1b'));

    assert_eq!(cli(&home, "-q secrets list").out, format!("{name}\n"));
    let quiet = home.cli(&["-q", "secrets", "create", "q"], "v\n");
    assert_eq!(quiet.out.lines().count(), 1);
    assert!(quiet.out.starts_with("sec_"), "{quiet:#?}");
    // Notes are left out, and what warns is not.
    assert!(!quiet.err.contains("note:") && quiet.err.contains("SIMULATED"), "{quiet:#?}");
    cli(&home, "-q secrets get nothing").says(5, &["error: there is no secret"]);
    cli(&home, "-q --json secrets list").says(2, &["--json"]);
    // Nobody is asked where nobody sits, and a no is a no.
    let (code, shown) = on_a_terminal(&home, &[], "secrets delete q");
    assert!(code == 1 && shown.contains("[y/N]") && shown.contains("nothing was done"), "{shown}");
    assert_eq!(total(&home, "q"), 1);
    std::fs::write(home.path("k.env"), "A=1\nB=2\n").unwrap();
    let (_, shown) = on_a_terminal(&home, &[], "import k.env");
    assert!(shown.contains("[##############################] 2 of 2"), "{shown}");
}

#[test]
fn bash_completes_from_the_script() {
    let home = Home::usual();
    let script = cli(&home, "completions bash");
    assert_eq!(script.code, 0);
    std::fs::write(home.path("bash"), &script.out).unwrap();
    let syntax = Command::new("bash").arg("-n").arg(home.path("bash")).output().unwrap();
    assert!(syntax.status.success(), "{}", String::from_utf8_lossy(&syntax.stderr));
    for (line, expected) in [
        ("neo-secrets ver", "verify"),
        ("neo-secrets secrets rol", "rollback"),
        ("neo-secrets keys create --perm", "--permission"),
        ("neo-secrets keys create n --permission re", "read reveal"),
        ("neo-secrets import --for", "--format"),
        ("neo-secrets completions f", "fish"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let (current, before) = (words[words.len() - 1], words[words.len() - 2]);
        let call = format!(
            "source ./bash; complete -p neo-secrets >&2; COMP_WORDS=({line}); \
             COMP_CWORD={}; f=$(complete -p neo-secrets); f=${{f#*-F }}; \
             ${{f%% *}} neo-secrets '{current}' '{before}'; echo \"${{COMPREPLY[*]}}\"",
            words.len() - 1
        );
        let output =
            Command::new("bash").args(["-c", &call]).current_dir(home.path(".")).output().unwrap();
        let offered = String::from_utf8(output.stdout).unwrap();
        assert_eq!(offered.trim(), expected, "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for shell in ["zsh", "fish"] {
        let script = cli(&home, &format!("completions {shell}"));
        std::fs::write(home.path(shell), &script.out).unwrap();
        match Command::new(shell).arg("-n").arg(home.path(shell)).output() {
            Ok(output) => assert!(output.status.success(), "{shell}: {output:?}"),
            Err(_) => skipped(shell),
        }
    }
}

#[test]
fn the_manual_renders_without_a_warning() {
    let home = Home::usual();
    let groff = Path::new("/usr/bin/groff").exists();
    for command in ["", "secrets create", "import", "run"] {
        let page = cli(&home, &format!("man {command}"));
        assert!(page.code == 0 && page.out.starts_with(".ie"), "{page:#?}");
        std::fs::write(home.path("page"), &page.out).unwrap();
        if !groff {
            skipped("groff");
            continue;
        }
        let mut render = Command::new("groff");
        render.args(["-man", "-ww", "-Tutf8", "-P-cbou"]).arg(home.path("page"));
        let output = render.output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("SYNOPSIS") && text.contains("GLOBAL OPTIONS"), "{text}");
    }
}
