//! `scripts/run` without its build: what it leaves, what it prints, and how it ends.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use neo_secrets_tests::appliance::program;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

struct Run {
    child: Child,
    printed: String,
    port: u16,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn command(data: &Path) -> Command {
    let mut command = Command::new(program("neo-secrets-run"));
    command.arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]);
    command.current_dir(root()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command
}

/// Starts it and reads what it prints up to its last line.
fn start(data: &Path) -> Run {
    start_with(data, &[])
}

/// As [`start`], with more arguments.
fn start_with(data: &Path, arguments: &[&str]) -> Run {
    try_start(data, arguments).unwrap_or_else(|said| panic!("it ended: {said}"))
}

/// As [`start`]; what it said where it ended instead.
fn try_start(data: &Path, arguments: &[&str]) -> Result<Run, String> {
    let mut child = command(data).args(arguments).spawn().unwrap();
    let mut printed = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    while !printed.contains("Ctrl-C") {
        if lines.read_line(&mut printed).unwrap() == 0 {
            child.stderr.take().unwrap().read_to_string(&mut printed).unwrap();
            child.wait().unwrap();
            return Err(printed);
        }
    }
    let (_, port) = printed.split_once("https://localhost:").unwrap();
    let port = port.chars().take_while(char::is_ascii_digit).collect::<String>();
    Ok(Run { child, port: port.parse().unwrap(), printed })
}

/// A chip whose vendor's keys are there already: making them takes seconds, and other tests make
/// them.
fn data_with_chip(folder: &Path) -> PathBuf {
    let data = folder.join("data of mine");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
    let chip = neo_secrets_tests::appliance::chip(snp_simulator::Product::Genoa);
    chip.store(&data.join("chip"), time::OffsetDateTime::now_utc()).unwrap();
    data
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[test]
fn each_printed_command_works_when_pasted_and_a_second_start_finds_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let data = data_with_chip(folder.path());
    let mut run = start(&data);
    assert!(run.printed.contains("SIMULATED"));
    for file in [
        "owner.pem",
        "owner.key",
        "admin.key",
        "server.pem",
        "simulated-root.der",
        "reference.json",
        "policy.json",
    ] {
        let meta = std::fs::metadata(data.join("client").join(file)).expect(file);
        assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{file}");
    }
    for key in ["owner.key", "admin.key"] {
        let text = std::fs::read_to_string(data.join("client").join(key)).unwrap();
        assert!(text.starts_with("neo_") && text.ends_with('\n') && text.len() == 48, "{key}");
    }
    assert!(data.join("store.redb").exists());
    // The programs that the test built stand where scripts/run would have built them.
    let commands = |run: &Run| -> String {
        let lines = run.printed.lines();
        lines
            .filter(|line| line.starts_with("  ") && !line.trim_start().starts_with('#'))
            .map(|line| format!("{}\n", line.trim_start()))
            .collect::<String>()
            .replace("./target/release/neo-secrets", program("neo-secrets").to_str().unwrap())
    };
    let printed = commands(&run);
    for what in [
        "verify",
        "secrets create",
        "secrets list",
        "secrets delete",
        "curl",
        "DELETE",
        "audit-log",
    ] {
        assert!(printed.contains(what), "{what} is not in {printed}");
    }
    assert!(!printed.contains("/value"), "{printed}");
    let paste = |script: &str| {
        let out = Command::new("bash")
            .args(["-eu", "-o", "pipefail", "-c", script])
            .current_dir(root())
            .env_remove("NEO_SECRETS_URL")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
        text
    };
    let output = paste(&printed);
    assert!(output.contains("Secret deleted successfully"), "{output}");
    assert!(!output.contains("\"error\""), "{output}");
    // A secret that stays, an end by SIGTERM, a second start.
    let certificate = data.join("client/server.pem");
    let call = |method: &str, port: u16, more: &str| {
        format!(
            "curl -sS --cacert '{}' -X {method} -H \"Authorization: Bearer $(cat '{}')\" {more} https://localhost:{port}/v1/secrets",
            certificate.display(),
            data.join("client/admin.key").display(),
        )
    };
    let body = r#"-H 'Content-Type: application/json' -d '{"name":"stays","value":"x"}'"#;
    paste(&call("POST", run.port, body));
    kill_process(pid(&run.child), Signal::TERM).unwrap();
    assert!(run.child.wait().unwrap().success());
    let mut run = start_with(&data, &["--reveal"]);
    assert!(paste(&call("GET", run.port, "")).contains("\"stays\""));
    let output = paste(&commands(&run));
    assert!(output.contains(r#""value":"another value""#), "{output}");
    assert!(output.contains("secret.reveal") && !output.contains("\"error\""), "{output}");
    // The group gets the signal, and the server so gets it twice.
    kill_process_group(pid(&run.child), Signal::INT).unwrap();
    assert!(run.child.wait().unwrap().success());
}

#[test]
fn a_second_instance_on_the_same_folder_says_so_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = data_with_chip(folder.path());
    let mut first = start(&data);
    let second = command(&data).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("in use") || said.contains("another"), "{said}");
    assert!(data.join("client/server.pem").exists(), "the running one's certificate is gone");
    kill_process(pid(&first.child), Signal::TERM).unwrap();
    assert!(first.child.wait().unwrap().success());
}

#[test]
fn a_killed_launcher_leaves_no_server_and_a_lost_claim_is_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let data = data_with_chip(folder.path());
    let mut run = start(&data);
    run.child.kill().unwrap();
    run.child.wait().unwrap();
    // As if it had been killed between the claim and the writing of the keys.
    std::fs::remove_file(data.join("client/admin.key")).unwrap();
    std::fs::remove_file(data.join("client/owner.key")).unwrap();
    // The server ends with its launcher: the folder is free at once or soon.
    let mut run = loop {
        match try_start(&data, &[]) {
            Ok(run) => break run,
            Err(said) => assert!(said.contains("in use") || said.contains("another"), "{said}"),
        }
    };
    assert!(data.join("client/admin.key").exists());
    kill_process(pid(&run.child), Signal::TERM).unwrap();
    assert!(run.child.wait().unwrap().success(), "{}", run.printed);
}

#[test]
fn an_instance_that_is_left_unclaimed_is_claimed_by_the_printed_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = data_with_chip(folder.path());
    let mut run = start_with(&data, &["--unclaimed"]);
    assert!(run.printed.contains("nobody has claimed it"), "{}", run.printed);
    assert!(!data.join("client/admin.key").exists());
    let client = program("neo-secrets");
    let commands = run.printed.lines().filter(|line| line.starts_with("  ./target/release/"));
    for line in commands {
        let line = line.replace("./target/release/neo-secrets", client.to_str().unwrap());
        let output = Command::new("bash").args(["-c", &line]).current_dir(root()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(data.join("client/admin.key").exists());
    kill_process(pid(&run.child), Signal::TERM).unwrap();
    assert!(run.child.wait().unwrap().success());
    let said = try_start(&data, &["--unclaimed"]).err().unwrap();
    assert!(said.contains("claimed already: start without --unclaimed"), "{said}");
    // What the claim has left is what a usual start finds.
    let mut run = start(&data);
    kill_process(pid(&run.child), Signal::TERM).unwrap();
    assert!(run.child.wait().unwrap().success());
}

#[test]
fn bad_arguments_and_a_broken_chip_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let bad = Command::new(program("neo-secrets-run")).arg("--colour").output().unwrap();
    assert_eq!(bad.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("--colour"));
    let data = data_with_chip(folder.path());
    let chip = data.join("chip/chip.json");
    let text = std::fs::read_to_string(&chip).unwrap().replace("\"vmpl\": 0", "\"vmpl\": 9");
    std::fs::write(&chip, text).unwrap();
    let out = command(&data).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("vmpl"));
}
