//! The production server with a SIMULATED device, on a raw disk: what an appliance runs, but for the
//! virtual machine around it. Needs root and `/dev/fuse`.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::process::Command;

use neo_secrets_tests::appliance::{Appliance, CONFIG, Home, chip, program};
use neo_secrets_tests::device;
use serde_json::{Value, json};
use snp_simulator::{Chip, Machine, Product};
use time::OffsetDateTime;

const MIB: u64 = 1_048_576;

/// A folder with a chip, an empty disk, and the certificates that its host would hand over.
struct Host {
    home: Home,
}

impl Host {
    /// Says why not, where this machine can have no device.
    fn new(test: &str) -> Option<Self> {
        if let Some(why) = device::missing() {
            eprintln!("SKIPPED {test}: {why}");
            return None;
        }
        let home = Home::new(&chip(Product::Genoa), CONFIG);
        home.write_client_files();
        fs::File::create(home.path("disk")).unwrap().set_len(64 * MIB).unwrap();
        let host = Self { home };
        fs::write(host.home.path("table"), host.table()).unwrap();
        Some(host)
    }

    /// GHCB's table: GUID, offset, length; an entry of zeros; the certificates.
    fn table(&self) -> Vec<u8> {
        use neo_secrets_server::platform::Platform;
        let now = OffsetDateTime::now_utc();
        let chip = Chip::open(&self.home.path("chip"), now).unwrap();
        let given = Machine::launch(chip, now).unwrap().endorsements().unwrap();
        let parts = [
            ("63da758de6644564adc5f4b93be8accd", given.vek),
            ("4ab7b379bbac4fe4a02f05aef327c782", given.ask),
            ("c0b406a4a803495297433fb6014cd0ae", given.ark),
            ("92f81bc358114d3d97ffd19f88dc67ea", given.crl.unwrap()),
        ];
        let mut offset = u32::try_from(24 * (parts.len() + 1)).unwrap();
        let (mut head, mut body) = (Vec::new(), Vec::new());
        for (guid, der) in parts {
            let length = u32::try_from(der.len()).unwrap();
            head.extend(data_encoding::HEXLOWER.decode(guid.as_bytes()).unwrap());
            head.extend([offset, length].map(u32::to_le_bytes).concat());
            body.extend(der);
            offset += length;
        }
        head.extend([0; 24]);
        [head, body].concat()
    }

    fn command(&self, fault: &str, place: &str, data: &str) -> Command {
        let path = |name: &str| self.home.path(name);
        let mut command = Command::new(program("sev-guest-device"));
        command.arg(path("chip")).arg(fault).arg(path("asked")).arg(place);
        command.arg(program("neo-secretsd"));
        command.arg("--config").arg(path("config.toml")).arg("--data").arg(path(data));
        command.arg("--host-certificates").arg(path("table"));
        command.args(["--listen", "127.0.0.1:0"]);
        if place == "descriptor" {
            command.args(["--sev-guest-fd", "FD"]);
        }
        command
    }

    fn start(&self, fault: &str, place: &str) -> Appliance<'_> {
        fs::write(self.home.path("asked"), "").unwrap();
        self.home.start_command(self.command(fault, place, "disk"))
    }

    /// What the device was asked since the start.
    fn asked(&self, what: &str) -> usize {
        let asked = fs::read_to_string(self.home.path("asked")).unwrap();
        asked.lines().filter(|line| *line == what).count()
    }

    fn change_disk<T>(&self, change: impl FnOnce(&mut fs::File) -> T) -> T {
        let path = self.home.path("disk");
        change(&mut fs::OpenOptions::new().read(true).write(true).open(path).unwrap())
    }

    fn cli(&self, arguments: &[&str]) -> neo_secrets_tests::appliance::Outcome {
        self.home.cli_with_files(arguments)
    }
}

#[test]
fn the_production_server_serves_on_a_device_and_a_raw_disk() {
    let Some(host) = Host::new("the_production_server_serves_on_a_device_and_a_raw_disk") else {
        return;
    };
    let instance = host.start("none", "path");
    assert!(instance.state().contains("unclaimed"), "{}", host.home.log());
    let url = instance.url();
    host.cli(&["claim", &url, "--owner-key", "owner.pem", "--out-dir", "."]).says(0, &["claimed"]);
    let create = ["secrets", "create", "kept", "--url", &url, "--key-file", "admin.key"];
    let files = ["--profile", "./p.json", "--trust-simulated", "client/simulated-root.der"];
    host.home.cli(&[&create[..], &files[..]].concat(), "v").says(0, &[]);
    // Whoever takes the server over later gets no key: in every thread.
    let status = |thread: &fs::DirEntry| fs::read_to_string(thread.path().join("status")).unwrap();
    let threads = fs::read_dir(format!("/proc/{}/task", instance.process_id())).unwrap();
    for thread in threads {
        let status = status(&thread.unwrap());
        assert!(
            status.contains("Seccomp:\t2\n") && status.contains("NoNewPrivs:\t1\n"),
            "{status}"
        );
    }
    assert_eq!(host.asked("key"), 1);
    instance.kill();

    // The same disk on the same chip, by a passed descriptor.
    let instance = host.start("none", "descriptor");
    assert_eq!(instance.state(), "ready", "{}", host.home.log());
    assert_eq!(host.asked("key"), 1);
    let url = instance.url();
    host.cli(&["secrets", "list", "--url", &url, "--key-file", "admin.key"]).says(0, &["kept"]);
    host.home.verify(&url, &[]).says(0, &["SIMULATED"]);

    // A second server gets neither the disk nor a word of it.
    let second = host.command("none", "path", "disk").output().unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("in use by another process"), "{said}");
    instance.terminate();
    assert_eq!(&first_bytes(&host), b"neo-secrets disk");

    // Another chip.
    fs::remove_dir_all(host.home.path("chip")).unwrap();
    chip(Product::Genoa).store(&host.home.path("chip"), OffsetDateTime::now_utc()).unwrap();
    let instance = host.start("none", "path");
    assert!(instance.state().contains("other-machine: "), "{}", instance.state());
}

fn first_bytes(host: &Host) -> [u8; 16] {
    let mut bytes = [0; 16];
    host.change_disk(|disk| disk.read_exact(&mut bytes)).unwrap();
    bytes
}

/// What code gets of a secret, and what it hears of hosts that it may not reach, one of which has
/// an address of this machine.
const CODE: &str = "async function main({ secrets }) {
  const tried = (host) => fetch(`https://${host}/`).then(() => 'reached', (error) => error.message);
  return {
    length: (await secrets.get('kept')).length,
    local: await tried('local.example'),
    unlisted: await tried('other.example'),
  };
}";

/// Workers start after the filter stands, and inherit it; lookups run under it.
#[test]
fn functions_run_under_the_filter() {
    let Some(host) = Host::new("functions_run_under_the_filter") else { return };
    // The resolver compares the name with its dot at the end.
    fs::write(host.home.path("hosts"), "127.0.0.1 local.example. local.example\n").unwrap();
    fs::write(host.home.path("asked"), "").unwrap();
    let server = host.command("none", "path", "disk");
    let mut command = Command::new(server.get_program());
    let (device, server): (Vec<_>, Vec<_>) =
        server.get_args().enumerate().partition(|(at, _)| *at < 4);
    command.args(device.into_iter().map(|(_, argument)| argument));
    // In the mount namespace that the device is in, and no other.
    command.args(["sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]);
    command.arg(host.home.path("hosts"));
    command.args(server.into_iter().map(|(_, argument)| argument));
    let instance = host.home.start_command(command);
    assert!(instance.state().contains("unclaimed"), "{}", host.home.log());
    let key = instance.claim().admin;
    let mut connection = instance.connect();
    let mut done = |target: &str, body: Value| {
        let answer = connection.call("POST", target, &key, Some(&body));
        assert!((200..300).contains(&answer.status), "{}\n{}", answer.json(), host.home.log());
        answer.json()
    };
    done("/v1/secrets", json!({"name": "kept", "value": "0123456789"}));
    let function = json!({
        "name": "reads", "code": CODE, "secrets": ["kept"], "egress": ["local.example"]
    });
    let id = done("/v1/functions", function)["id"].as_str().unwrap().to_owned();
    let expected = json!({
        "length": 10,
        "local": "the host local.example has an address that functions may not reach",
        "unlisted": "other.example is not in the function's egress list",
    });
    // The first worker is cold, the second one has seen the code.
    for _ in 0..2 {
        assert_eq!(done(&format!("/v1/functions/{id}/invoke"), json!({}))["result"], expected);
    }
    let server = instance.process_id();
    let workers: Vec<_> = children(server)
        .into_iter()
        .filter(|status| status.starts_with("Name:\tneo-secrets-wor\n"))
        .collect();
    assert!(!workers.is_empty());
    for status in workers {
        // The server's and its own.
        assert!(status.contains("Seccomp_filters:\t2\n"), "{status}");
    }
    assert!(!host.home.log().contains("no function runs"), "{}", host.home.log());
    assert!(instance.terminate().success());
}

/// The status of each process that this one has started.
fn children(parent: u32) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let status = |process: fs::DirEntry| fs::read_to_string(process.path().join("status")).ok();
    let of_parent = format!("\nPPid:\t{parent}\n");
    processes.filter_map(status).filter(|status| status.contains(&of_parent)).collect()
}

#[test]
fn a_hosts_device_that_errs_leaves_the_store_sealed() {
    let Some(host) = Host::new("a_hosts_device_that_errs_leaves_the_store_sealed") else { return };
    for (fault, reports, keys) in
        [("device", 1, 0), ("firmware", 1, 0), ("truncated-report", 1, 0), ("zero-key", 1, 1)]
    {
        let instance = host.start(fault, "path");
        let state = instance.state();
        assert!(state.contains("processor: "), "{fault}: {state}");
        // Asked once, and then left alone: each further message is one more risk.
        assert_eq!((host.asked("report"), host.asked("key")), (reports, keys), "{fault}");
        instance.terminate();
    }
    // A report that another chip has signed: the server cannot know, and every client refuses it.
    let instance = host.start("foreign-signature", "path");
    let url = instance.url();
    assert!(instance.state().contains("unclaimed"));
    host.home.verify(&url, &[]).says(3, &["signature"]);
    host.cli(&["claim", &url, "--owner-key", "owner.pem", "--out-dir", "."]).says(3, &[]);
    assert_eq!(first_bytes(&host), [0; 16]);
}

#[test]
fn without_a_device_the_server_does_not_start() {
    let home = Home::usual();
    let mut command = Command::new(program("neo-secretsd"));
    command.arg("--config").arg(home.path("config.toml")).arg("--data").arg(home.path("data"));
    command.args(["--listen", "127.0.0.1:0"]);
    if std::path::Path::new("/dev/sev-guest").exists() {
        eprintln!("SKIPPED without_a_device_the_server_does_not_start: this machine has one");
        return;
    }
    let ended = command.output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(
        said.contains("/dev/sev-guest: ") && said.contains("SEV-SNP virtual machine"),
        "{said}"
    );
    let ended = command.args(["--sev-guest-fd", "99"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8(ended.stderr).unwrap().contains("--sev-guest-fd \"99\""));
}

#[test]
fn a_disk_that_is_not_ours_is_named_and_left_alone() {
    let Some(host) = Host::new("a_disk_that_is_not_ours_is_named_and_left_alone") else { return };
    let state = |host: &Host| {
        let instance = host.start("none", "path");
        let state = instance.state();
        assert!(instance.terminate().success());
        state
    };
    host.change_disk(|disk| {
        disk.seek(SeekFrom::Start(512)).unwrap();
        disk.write_all(b"EFI PART").unwrap();
    });
    let said = state(&host);
    assert!(said.contains("store-foreign: ") && said.contains("a GPT partition table"), "{said}");
    host.change_disk(|disk| disk.set_len(MIB)).unwrap();
    let said = state(&host);
    assert!(said.contains("store-foreign: the disk has 1048576 bytes"), "{said}");
    host.change_disk(|disk| disk.set_len(0).and_then(|()| disk.set_len(64 * MIB))).unwrap();

    let instance = host.start("none", "path");
    let url = instance.url();
    host.cli(&["claim", &url, "--owner-key", "owner.pem", "--out-dir", "."]).says(0, &["claimed"]);
    // Cut under the running server: what fits is written, what does not fails, and it says so.
    host.change_disk(|disk| disk.set_len(16 * MIB)).unwrap();
    for index in 0..10 {
        let name = format!("s-{index}");
        let create = ["secrets", "create", &name, "--url", &url, "--key-file", "admin.key"];
        let files = ["--profile", "./p.json", "--trust-simulated", "client/simulated-root.der"];
        let value = "v".repeat(65_000);
        host.home.cli(&[&create[..], &files[..]].concat(), &value).says(0, &[]);
    }
    host.change_disk(|disk| disk.set_len(2 * MIB)).unwrap();
    let list = ["secrets", "create", "one-more", "--url", &url, "--key-file", "admin.key"];
    let files = ["--profile", "./p.json", "--trust-simulated", "client/simulated-root.der"];
    assert_ne!(host.home.cli(&[&list[..], &files[..]].concat(), "v").code, 0);
    assert!(instance.state().contains("store-failed: "), "{}", instance.state());
    assert!(instance.terminate().success());
    let said = state(&host);
    assert!(said.contains("store-foreign: the disk has 2097152 bytes"), "{said}");
    host.change_disk(|disk| disk.set_len(16 * MIB)).unwrap();
    let said = state(&host);
    assert!(said.contains("store-damaged: "), "{said}");
}
