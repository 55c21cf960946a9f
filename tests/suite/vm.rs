//! The image as it boots: the same kernel, initrd and command line, in QEMU, on a SIMULATED secure
//! processor. Each boot takes some seconds, so there are few.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use neo_secrets_image::files::hex;
use neo_secrets_tests::appliance::{CONFIG, Home, Outcome, chip, program};
use neo_secrets_tests::vm::{
    CONFIG_DISK, CONFIG_NAME, DATA_DISK, DATA_NAME, Host, Image, Vm, blank_data_disk, missing,
    uefi_firmware, write_config_disk,
};
use rustix::process::{Pid, Signal, kill_process};
use snp_simulator::Product;
use time::OffsetDateTime;

use crate::rules::root;

/// DEBUG, and the bits of the usual policy.
const DEBUG_POLICY: u64 = 0x3_0133 | 1 << 19;
/// Where these tests assemble it.
const IMAGE: &str = "target/image.vm";
const GIB: u64 = 1 << 30;

/// The image of the sources as they are; built once, in the folder that the image's own tests use.
fn image(test: &str) -> Option<&'static Image> {
    static MADE: OnceLock<Result<Image, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| match missing() {
        Some(why) => Err(why.to_owned()),
        None => Image::assemble(&root(), &root().join(IMAGE)).map_err(|error| error.to_string()),
    });
    match made {
        Ok(image) => Some(image),
        Err(why) => {
            skip(test, why);
            None
        }
    }
}

/// Says that something was not tested, where a person sees it.
fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// A chip, the two disks, and a client who has the image's reference values.
fn home(image: &Image, config: &str) -> Home {
    let home = Home::new(&chip(Product::Genoa), config);
    home.write_client_files();
    fs::write(home.path("client/reference.json"), &image.reference).unwrap();
    blank_data_disk(&home.path(DATA_DISK)).unwrap();
    write_config_disk(&home.path(CONFIG_DISK), config.as_bytes()).unwrap();
    home
}

fn boot(image: &Image, host: &Host<'_>) -> Vm {
    Vm::boot(image, host).unwrap_or_else(|error| panic!("{error}"))
}

fn cli(home: &Home, arguments: &[&str], input: &str) -> Outcome {
    let files = ["--profile", "./p.json", "--trust-simulated", "client/simulated-root.der"];
    home.cli(&[arguments, &files[..]].concat(), input)
}

/// What the secure processor was asked, in all boots.
fn asked(home: &Home, what: &str) -> usize {
    let asked = fs::read_to_string(home.path("asked")).unwrap();
    asked.lines().filter(|line| *line == what).count()
}

#[test]
fn a_store_lives_through_a_power_cut_and_opens_in_its_image_on_its_chip_only() {
    let test = "a_store_lives_through_a_power_cut_and_opens_in_its_image_on_its_chip_only";
    let Some(image) = image(test) else { return };
    let home = home(image, CONFIG);
    // Zeros up to a gigabyte are no text.
    let config = OpenOptions::new().write(true).open(home.path(CONFIG_DISK)).unwrap();
    config.set_len(GIB).unwrap();
    let folder = home.path(".");
    let host = Host::new(&folder);

    let vm = boot(image, &host);
    let log = || vm.console.text();
    assert!(vm.state().contains("unclaimed"), "{}", log());
    let measured = hex(&image.digest().unwrap());
    home.verify(&vm.url(), &["--explain"]).says(0, &["SIMULATED", &measured]);
    let reference = ["--reference", "client/reference.json", "--policy", "client/policy.json"];
    let claim = ["claim", &vm.url(), "--owner-key", "owner.pem", "--out-dir", "."];
    cli(&home, &[&claim[..], &reference[..]].concat(), "").says(0, &["claimed"]);
    let key = ["--url", &vm.url(), "--key-file", "admin.key"];
    cli(&home, &[&["secrets", "create", "kept"], &key[..]].concat(), "v").says(0, &[]);
    // Functions run in it, by workers that a launcher under another user starts.
    let code = "async function main(c) { return (await c.secrets.get('kept')).length; }";
    fs::write(home.path("length.js"), code).unwrap();
    let deploy = ["functions", "deploy", "length.js", "--name", "length", "--secret", "kept"];
    cli(&home, &[&deploy[..], &key[..]].concat(), "").says(0, &["created length"]);
    let invoke = ["functions", "invoke", "length"];
    cli(&home, &[&invoke[..], &key[..]].concat(), "").says(0, &["1\n", "receipt verified"]);
    assert_eq!(asked(&home, "key"), 1);
    vm.cut();

    let mut vm = boot(image, &host);
    assert_eq!(vm.state(), "ready", "{}", vm.console.text());
    assert!(!vm.console.text().contains("fewer open files"), "{}", vm.console.text());
    let key = ["--url", &vm.url(), "--key-file", "admin.key"];
    cli(&home, &[&["secrets", "list"], &key[..]].concat(), "").says(0, &["kept", "SIMULATED"]);
    cli(&home, &[&invoke[..], &key[..]].concat(), "").says(0, &["1\n"]);
    assert_eq!(asked(&home, "key"), 2);
    vm.press_power_button().unwrap();
    let said = vm.turned_off();
    assert!(said.contains("server-ended 0") && said.contains("power-off"), "{said}");

    // One byte of the command line: this image boots as well, and has another measurement.
    let line = image.boot.command_line.replace("loglevel=1", "loglevel=2");
    let other = image.clone().with_command_line(&line).unwrap();
    assert_ne!(other.digest().unwrap(), image.digest().unwrap());
    let vm = boot(&other, &host);
    let state = vm.state();
    assert!(state.contains("other-machine: ") && state.contains("measurement"), "{state}");
    home.verify(&vm.url(), &[]).says(3, &["step 8", "MEASUREMENT"]);
    vm.cut();

    let vm = boot(image, &Host { policy: Some(DEBUG_POLICY), ..Host::new(&folder) });
    let state = vm.state();
    assert!(state.contains("machine-unfit: ") && state.contains("allows debugging"), "{state}");
    home.verify(&vm.url(), &[]).says(3, &["step 7"]);
    vm.cut();

    fs::rename(home.path("chip"), home.path("chip.first")).unwrap();
    chip(Product::Genoa).store(&home.path("chip"), OffsetDateTime::now_utc()).unwrap();
    let vm = boot(image, &host);
    let state = vm.state();
    assert!(state.contains("other-machine: ") && state.contains("chip"), "{state}");
    vm.cut();

    // And none of them has changed anything.
    fs::remove_dir_all(home.path("chip")).unwrap();
    fs::rename(home.path("chip.first"), home.path("chip")).unwrap();
    assert_eq!(boot(image, &host).state(), "ready");
}

/// Boots this, and gives what the machine said before it turned itself off.
fn end_of(image: &Image, host: &Host<'_>) -> String {
    Vm::start(image, host).unwrap_or_else(|error| panic!("{error}")).turned_off()
}

#[test]
fn a_machine_that_lacks_something_says_so_and_ends() {
    let Some(image) = image("a_machine_that_lacks_something_says_so_and_ends") else { return };
    let home = home(image, CONFIG);
    let folder = home.path(".");
    let bare = || Host { has_processor: false, ..Host::new(&folder) };
    let ends = |image: &Image, host: &Host<'_>, words: &str| {
        let said = end_of(image, host);
        assert!(said.contains(&format!("neo-secrets-init: {words}")), "{words}: {said}");
        assert!(said.contains("neo-secrets-init: power-off"), "{words}: {said}");
        assert!(!said.contains("server-started"), "{words}: {said}");
    };
    // The image alone, byte for byte as it was built.
    ends(image, &bare(), "no-sev-guest 2\n");

    // A word that stands there already; PID 1's own tests have the others.
    let mut other = image.clone();
    other.boot.command_line.push_str(" quiet");
    ends(&other, &bare(), "command-line-foreign");

    let (data, config) = (home.path(DATA_DISK), home.path(CONFIG_DISK));
    let data = (DATA_NAME, data);
    let disks = |disks| Host { disks, ..bare() };
    ends(image, &disks(vec![data.clone()]), "disks no-conf-disk\n");
    let second = home.path("second.raw");
    blank_data_disk(&second).unwrap();
    let three = vec![data.clone(), (CONFIG_NAME, config.clone()), (data.0, second)];
    ends(image, &disks(three), "disks several-data-disks\n");
    let file = fs::File::create(&config).unwrap();
    ends(image, &bare(), "config config-empty\n");
    (&file).write_all(&[b'#'; 70_000]).unwrap();
    file.set_len(GIB).unwrap();
    ends(image, &bare(), "config config-too-long\n");
}

#[test]
fn each_command_that_scripts_vm_prints_works_when_pasted() {
    let test = "each_command_that_scripts_vm_prints_works_when_pasted";
    if image(test).is_none() {
        return;
    }
    let home = Home::new(&chip(Product::Genoa), CONFIG);
    for commands in [5, 3] {
        let mut command = Command::new(program("neo-secrets-vm"));
        command.arg("--image").arg(root().join(IMAGE)).arg("--data").arg(home.path("."));
        command.args(["--port", "0"]).current_dir(root()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut printed = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while !printed.contains("Ctrl-C") {
            assert_ne!(lines.read_line(&mut printed).unwrap(), 0, "{printed}");
        }
        assert!(printed.contains("SIMULATED"), "{printed}");
        // The profile of the first start names its port.
        let pasted = printed.lines().filter(|line| line.starts_with("  ") && !line.contains(" # "));
        let pasted = pasted.map(|line| line.replace(".json verify", ".json --url $url verify"));
        let pasted = pasted.map(|line| line.replace(".json secrets", ".json --url $url secrets"));
        let pasted: Vec<_> = pasted.collect();
        assert_eq!(pasted.len(), commands, "{printed}");
        let url = printed.split_whitespace().find(|word| word.starts_with("https://")).unwrap();
        let script = format!("url={}\n{}", url.trim_end_matches(','), pasted.join("\n"));
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(root())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("SIMULATED") && said.contains("my-secret"), "{said}");
        if commands == 5 {
            kill_process(Pid::from_child(&child), Signal::INT).unwrap();
            assert!(child.wait().unwrap().success());
            let console = fs::read_to_string(home.path("console.log")).unwrap();
            assert!(console.contains("neo-secrets-init: power-off"), "{console}");
        } else {
            ends_with_its_harness(child);
        }
    }
}

/// However the harness ends, QEMU does.
fn ends_with_its_harness(mut harness: Child) {
    let id = harness.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let qemu = children.trim().to_owned();
    let state = || fs::read_to_string(format!("/proc/{qemu}/stat")).unwrap_or_default();
    assert!(state().contains("(qemu-system-x86)"), "{children}");
    harness.kill().unwrap();
    harness.wait().unwrap();
    // Nobody may have taken it in yet. The test's own time is the bound.
    while !state().is_empty() && !state().contains(") Z ") {
        std::thread::yield_now();
    }
}

#[test]
fn the_image_boots_by_uefi_too() {
    let Some(image) = image("the_image_boots_by_uefi_too") else { return };
    let firmware = match uefi_firmware(&root()) {
        Ok(firmware) => firmware,
        Err(why) => return skip("the_image_boots_by_uefi_too", &why.to_string()),
    };
    let uefi = Some(firmware.as_path());
    let home = home(image, CONFIG);
    let folder = home.path(".");
    // UEFI's loader of QEMU puts a word before the command line, which PID 1 knows.
    let vm = boot(image, &Host { uefi, ..Host::new(&folder) });
    home.verify(&vm.url(), &[]).says(0, &["SIMULATED"]);
    vm.cut();
    // The disk: as far as it gets without a secure processor.
    let disk = Host { uefi, from_disk: true, has_processor: false, ..Host::new(&folder) };
    let said = end_of(image, &disk);
    assert!(said.contains("neo-secrets-init: disks data=vd"), "{said}");
    assert!(said.contains("neo-secrets-init: no-sev-guest 2\n"), "{said}");
}

#[test]
fn what_the_disks_hold_is_refused_by_name() {
    let Some(image) = image("what_the_disks_hold_is_refused_by_name") else { return };
    let home = home(image, CONFIG);
    let folder = home.path(".");
    let host = Host::new(&folder);
    let mut foreign = vec![0; 512];
    foreign.extend(b"EFI PART");
    let mut disk = OpenOptions::new().write(true).open(home.path(DATA_DISK)).unwrap();
    disk.write_all(&foreign).unwrap();
    let vm = boot(image, &host);
    let state = vm.state();
    assert!(state.contains("store-foreign: ") && state.contains("GPT"), "{state}");
    vm.cut();
    assert!(fs::read(home.path(DATA_DISK)).unwrap().starts_with(&foreign));

    let cut = format!("{CONFIG}seal = \"firm");
    write_config_disk(&home.path(CONFIG_DISK), cut.as_bytes()).unwrap();
    let vm = Vm::start(image, &host).unwrap_or_else(|error| panic!("{error}"));
    // Again and again, which ends with the machine after a minute and a half.
    vm.says("server-ended 1\n");
    assert!(vm.console.text().contains("config.toml: "), "{}", vm.console.text());
}
