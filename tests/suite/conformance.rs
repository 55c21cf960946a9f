//! `server/openapi.json` against a running instance, by schemathesis, which makes up the requests
//! itself: at the edges of every schema and beyond them, and calls that follow from one another's
//! answers. Its checks, and each exception with its reason, are in `tests/schemathesis.toml`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use neo_secrets_tests::appliance::{CONFIG, Home, chip, program};
use snp_simulator::Product;

/// Exact versions of it and of all that it needs.
const PINS: &str = include_str!("../schemathesis.txt");

fn tests() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: openapi.json by schemathesis ({why})");
}

/// The program, in an environment of its own below `target/`, which is made where it is not there
/// or has other versions; or why it can't be made.
fn schemathesis() -> Result<PathBuf, String> {
    let release = program("neo-secretsd-simulated");
    let folder = release.parent().and_then(Path::parent).unwrap().join("schemathesis");
    let (made, executable) = (folder.join("pins.txt"), folder.join("bin/schemathesis"));
    // Its scripts know the folder's path.
    let wanted = format!("{}\n{PINS}", folder.display());
    if std::fs::read_to_string(&made).is_ok_and(|found| found == wanted) {
        return Ok(executable);
    }
    let _ = std::fs::remove_dir_all(&folder);
    let pins = tests().join("schemathesis.txt");
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--requirement"]).arg(pins);
    run(&mut pip)?;
    std::fs::write(made, wanted).unwrap();
    Ok(executable)
}

fn run(command: &mut Command) -> Result<(), String> {
    let Output { status, stderr, .. } = command.output().map_err(|error| error.to_string())?;
    let complaint = String::from_utf8_lossy(&stderr);
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {}", complaint.trim())) }
}

/// All its checks by one key of a new instance.
fn check(schemathesis: &Path, which: &str) {
    let config = CONFIG.replace("\"off\"", "\"by-permission\"");
    let home = Home::new(&chip(Product::Genoa), &config);
    home.write_client_files();
    let appliance = home.start();
    let claimed = appliance.claim().answer;
    let [pin, key] = ["instanceKey", which].map(|field| claimed[field].as_str().unwrap());
    let verify = ["--pin", pin, "--write-cert", "server.pem"];
    home.verify(&appliance.url(), &verify).says(0, &[]);
    let output = Command::new(schemathesis)
        .arg("--no-color")
        .arg("--config-file")
        .arg(tests().join("schemathesis.toml"))
        .arg("run")
        .arg(tests().join("../server/openapi.json"))
        .args(["--url", &appliance.url(), "--tls-verify"])
        .arg(home.path("server.pem"))
        .env("KEY", key)
        .env("HOOKS", tests().join("schemathesis_hooks.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(home.path("."))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "by {which}:\n{out}\n{err}");
    // Nothing that it did took its key away, after which it would have heard refusals only.
    let status = appliance.connect().call("GET", "/v1/audit-log", key, None).status;
    assert_eq!(status, 200, "by {which}:\n{out}");
}

#[test]
fn schemathesis_finds_nothing() {
    let schemathesis = match schemathesis() {
        Ok(schemathesis) => schemathesis,
        Err(why) => return skip(&why),
    };
    std::thread::scope(|scope| {
        for which in ["adminKey", "ownerKey"] {
            let schemathesis = &schemathesis;
            scope.spawn(move || check(schemathesis, which));
        }
    });
}
