//! Appliances on a simulated chip: folders, processes, and a claim written from SPEC.md alone.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use serde_json::{Value, json};
use snp_simulator::client_files::write_client_files;
use snp_simulator::{Chip, Product};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::http::{Answer, Connection};

/// The configuration that most suites run with.
pub const CONFIG: &str =
    "seal = \"firmware\"\nreveal = \"off\"\nwitnesses = []\nquorum = 0\nowner_key = \"any\"\n";

/// Options by which a client knows a [`Home`]'s server, where its files for clients are written.
const CLIENT_FILES: [&str; 6] = [
    "--reference",
    "client/reference.json",
    "--policy",
    "client/policy.json",
    "--trust-simulated",
    "client/simulated-root.der",
];

/// A built program of this workspace.
///
/// # Panics
/// Where it has not been built.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.exists(), "{name} is not built: cargo build --release --workspace --bins");
    path
}

/// A chip without a rate limit, of shared vendor keys.
pub fn chip(product: Product) -> Chip {
    snp_simulator::testing::chip(product, OffsetDateTime::now_utc())
}

/// A folder with a chip, a configuration, and place for a store. Removed when dropped.
pub struct Home(TempDir);

impl Home {
    /// With this chip and configuration.
    pub fn new(chip: &Chip, config: &str) -> Home {
        let home = Home(tempfile::Builder::new().prefix("neo-secrets-test-").tempdir().unwrap());
        std::fs::create_dir(home.path("data")).unwrap();
        std::fs::write(home.path("config.toml"), config).unwrap();
        chip.store(&home.path("chip"), OffsetDateTime::now_utc()).unwrap();
        home
    }

    /// A Genoa chip and the usual configuration.
    pub fn usual() -> Home {
        Home::new(&chip(Product::Genoa), CONFIG)
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.path("data/store.redb")
    }

    /// Changes the chip's settings: another launch of the same chip.
    pub fn relaunch(&self, change: impl FnOnce(&mut snp_simulator::Settings)) {
        let file = self.path("chip/chip.json");
        let mut settings = snp_simulator::Settings::parse(&std::fs::read(&file).unwrap()).unwrap();
        change(&mut settings);
        std::fs::write(&file, settings.to_json()).unwrap();
    }

    /// The command that starts the server.
    pub fn command(&self) -> Command {
        self.command_of(&program("neo-secretsd-simulated"))
    }

    /// The command that starts this one.
    fn command_of(&self, server: &Path) -> Command {
        let mut command = Command::new(server);
        command.arg("--config").arg(self.path("config.toml"));
        command.arg("--data").arg(self.path("data"));
        command.arg("--chip").arg(self.path("chip"));
        command.args(["--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::piped());
        command
    }

    /// Starts the server and waits until it has looked at its store.
    ///
    /// # Panics
    /// Where it ends before that; the log says why.
    pub fn start(&self) -> Appliance<'_> {
        let appliance = self.start_with(&[]);
        appliance.state();
        appliance
    }

    /// Starts it with more arguments, and waits until it listens.
    pub fn start_with(&self, arguments: &[&str]) -> Appliance<'_> {
        self.start_program(&program("neo-secretsd-simulated"), arguments)
    }

    /// As [`Home::start_with`], of a server that lies elsewhere.
    pub fn start_program(&self, server: &Path, arguments: &[&str]) -> Appliance<'_> {
        let mut command = self.command_of(server);
        command.args(arguments);
        self.start_command(command)
    }

    /// Starts a server by another command, and waits until it listens.
    pub fn start_command(&self, mut command: Command) -> Appliance<'_> {
        let log = std::fs::File::create(self.path("server.log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim().strip_prefix("listening ").unwrap_or_else(|| {
            let _ = child.kill();
            panic!("no server: {line:?}\n{}", self.log());
        });
        Appliance { home: self, addr: addr.parse().unwrap(), child }
    }

    /// Writes what a client needs to verify an instance here: root, reference values, policy.
    pub fn write_client_files(&self) {
        let now = OffsetDateTime::now_utc();
        let config = std::fs::read(self.path("config.toml")).unwrap();
        std::fs::create_dir_all(self.path("client")).unwrap();
        let chip = Chip::open(&self.path("chip"), now).unwrap();
        write_client_files(&self.path("client"), &chip, &config, now).unwrap();
    }

    /// Changes one of the client's JSON files.
    pub fn edit(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let path = self.path("client").join(file);
        let mut json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut json);
        std::fs::write(path, json.to_string()).unwrap();
    }

    /// Runs `neo-secrets` with an empty environment and a configuration folder of its own; `input`
    /// is its stdin.
    pub fn cli(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut child = Command::new(program("neo-secrets"))
            .args(arguments)
            .env_clear()
            .env("XDG_CONFIG_HOME", self.path("xdg"))
            .current_dir(self.path("."))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that fails early does not read its input.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let signal = || output.status.signal().map(|signal| -signal);
        Outcome {
            code: output.status.code().or_else(signal).unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// The same with what this home's clients know, and without input. They keep their profile here.
    pub fn cli_with_files(&self, arguments: &[&str]) -> Outcome {
        let profile = ["--profile", "./p.json"];
        self.cli(&[arguments, &CLIENT_FILES[..], &profile[..]].concat(), "")
    }

    /// `neo-secrets verify` of this address with this home's files, and more options.
    pub fn verify(&self, url: &str, options: &[&str]) -> Outcome {
        self.cli(&[&["verify", url], &CLIENT_FILES[..], options].concat(), "")
    }

    /// What the server has logged since its last start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }
}

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code, or the negative number of the signal that ended it.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Outcome {
    /// Asserts the exit code, and these words in what was printed.
    #[track_caller]
    pub fn says(&self, code: i32, words: &[&str]) -> &Outcome {
        assert_eq!(self.code, code, "{self:#?}");
        for word in words {
            let said = self.out.contains(word) || self.err.contains(word);
            assert!(said, "{word:?} is not in {self:#?}");
        }
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

/// A running server. Killed when dropped.
pub struct Appliance<'a> {
    pub home: &'a Home,
    pub addr: SocketAddr,
    child: Child,
}

impl Appliance<'_> {
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.addr.port())
    }

    /// A connection that has not looked at the certificate.
    pub fn connect(&self) -> Connection {
        Connection::open_unchecked(self.addr)
    }

    /// The reason that `/readyz` gives, or `ready`; once it has started.
    pub fn state(&self) -> String {
        state_of(self.addr)
    }

    /// Claims the instance with a new owner's key.
    pub fn claim(&self) -> Claimed {
        self.claim_as(&PKey::generate_ed25519().unwrap())
    }

    /// Claims the instance.
    ///
    /// # Panics
    /// Where the claim is refused.
    pub fn claim_as(&self, owner: &PKey<Private>) -> Claimed {
        let answer = self.try_claim(owner);
        let body = answer.json();
        assert_eq!(answer.status, 201, "{body}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Claimed { admin: text(&body["adminKey"]), owner: text(&body["ownerKey"]), answer: body }
    }

    /// Sends a claim.
    pub fn try_claim(&self, owner: &PKey<Private>) -> Answer {
        let mut connection = self.connect();
        let body = claim_body(owner, &connection.exporter());
        connection.call("POST", "/v1/claim", "", Some(&body))
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// A line of `/proc/PID/status` in KiB: `VmRSS` is what is resident now, `VmHWM` the most that
    /// ever was.
    pub fn memory_kib(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
        value.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(mut self) -> ExitStatus {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Appliance<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The reason that `/readyz` gives, or `ready`; once the server has started.
pub fn state_of(addr: SocketAddr) -> String {
    loop {
        let answer = Connection::open_unchecked(addr).call("GET", "/readyz", "", None);
        if answer.status == 200 {
            return "ready".to_owned();
        }
        let error = answer.error(503, "SERVICE_UNAVAILABLE");
        if error["details"]["issue"] != "starting" {
            return error.to_string();
        }
    }
}

/// What a claim gave.
pub struct Claimed {
    pub admin: String,
    pub owner: String,
    pub answer: Value,
}

/// The body of a claim, from SPEC.md section 4, for a connection with this exporter.
pub fn claim_body(owner: &PKey<Private>, exporter: &[u8; 32]) -> Value {
    let message = [b"neo-secrets claim v1\0\0\0\0\x20".as_slice(), exporter].concat();
    let signature = Signer::new_without_digest(owner).unwrap().sign_oneshot_to_vec(&message);
    json!({
        "ownerPublicKey": data_encoding::BASE64.encode(&owner.raw_public_key().unwrap()),
        "signature": data_encoding::BASE64.encode(&signature.unwrap()),
    })
}
