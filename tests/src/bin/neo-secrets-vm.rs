//! What `scripts/vm` starts: boots the built image in QEMU on a SIMULATED secure processor, verifies it,
//! says what to type next, and ends it with Ctrl-C.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use neo_secrets_image::build;
use neo_secrets_tests::appliance::CONFIG;
use neo_secrets_tests::vm::{
    CONFIG_DISK, DATA_DISK, Host, Image, Vm, blank_data_disk, is_stale, missing, write_config_disk,
};
use nix::sys::signal::{SigSet, Signal};
use snp_simulator::client_files::write_client_files;
use snp_simulator::launch::guide::{path_from, quoted};
use snp_simulator::{Chip, Product};
use time::OffsetDateTime;

const USAGE: &str = "usage: scripts/vm [--data DIR] [--port PORT] [--image DIR]

Boots the image in QEMU, without SEV hardware, on a SIMULATED secure processor, until Ctrl-C.
  --data DIR   where the disks and the chip are kept (default ./.neo-secrets/vm)
  --port PORT  the port of 127.0.0.1 that leads to it (default 8443; 0: any free one)
  --image DIR  an image that was built (default target/image, built anew where it is older than its sources)";

/// The server's orderly end takes five seconds at most, the machine's a few more.
const END_PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scripts/vm: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    // Before there is a second thread, so that this one alone takes them.
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    let Some(Arguments { data, port, image }) = arguments()? else {
        println!("{USAGE}");
        return Ok(());
    };
    if let Some(why) = missing() {
        return Err(why.into());
    }
    eprintln!("SIMULATED secure processor: this machine protects nothing. For trying out only.");
    let own = std::env::current_exe()?.canonicalize()?;
    let root = own.ancestors().nth(3).ok_or("not below a checkout's target/release")?;
    let built = match image {
        Some(folder) => folder,
        None => {
            if is_stale(root) {
                eprintln!("Building the image; from nothing, this takes some minutes");
                build::build(root, true)?;
            }
            root.join(build::FOLDER)
        }
    };
    let image = Image::open(root, &built)?;
    let host = Host { port, ..prepare(&data)? };

    let began = Instant::now();
    let vm = Vm::boot(&image, &host)?;
    let client = Client { root, image: &built, folder: &data.join("client"), url: vm.url() };
    let state = vm.state();
    client.verify()?;
    let seconds = began.elapsed().as_secs_f64();
    let measurement = data_encoding::HEXLOWER.encode(&image.digest()?);
    println!(
        "\nSIMULATED: the secure processor is made up, so this machine protects nothing. For trying out only.\n\
         Serving at {}, verified {seconds:.1} s after its power went on.\n\
         Measurement: {measurement}\n\
         Console: {}   Disks and chip: {}\n\n\
         Paste into another shell, in the repository's root:\n\n{}\n\
         Ctrl-C turns it off; the next start with the same --data and image finds its secrets again.",
        vm.url(),
        client.shown(&data.join("console.log")),
        client.shown(&data),
        client.guide(state.contains("unclaimed")),
    );
    if state != "ready" && !state.contains("unclaimed") {
        eprintln!("It does not serve: {state}");
    }
    end(vm, signals)
}

/// Waits for a signal, or for the machine's own end.
fn end(mut vm: Vm, signals: SigSet) -> Result<(), Box<dyn Error>> {
    let console = vm.console.clone();
    let ended = std::thread::spawn(move || {
        let _forever = console.until_end(Duration::from_secs(u64::from(u32::MAX)));
        let _self = nix::sys::signal::kill(nix::unistd::Pid::this(), Signal::SIGTERM);
    });
    signals.wait()?;
    if ended.is_finished() || vm.console.until_end(Duration::ZERO).is_ok() {
        return Err(format!("the machine has ended:\n{}", vm.console.text()).into());
    }
    eprintln!("Turning it off");
    vm.press_power_button()?;
    vm.console.until_end(END_PATIENCE).map_err(Into::into)
}

struct Arguments {
    data: PathBuf,
    port: u16,
    image: Option<PathBuf>,
}

fn arguments() -> Result<Option<Arguments>, Box<dyn Error>> {
    let (mut data, mut port, mut image) = (PathBuf::from("./.neo-secrets/vm"), 8443, None);
    let mut words = std::env::args_os().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{} needs a value", word.display()));
        match word.to_str() {
            Some("--data") => data = value()?.into(),
            Some("--image") => image = Some(PathBuf::from(value()?)),
            Some("--port") => {
                let text = value()?;
                let parsed = text.to_str().and_then(|text| text.parse().ok());
                port = parsed.ok_or_else(|| format!("--port {}: no port", text.display()))?;
            }
            Some("-h" | "--help") => return Ok(None),
            _ => return Err(format!("{} is not an option\n{USAGE}", word.display()).into()),
        }
    }
    Ok(Some(Arguments { data, port, image }))
}

/// Makes what is missing: chip, disks, and the client's files.
fn prepare(data: &Path) -> Result<Host<'_>, Box<dyn Error>> {
    let now = OffsetDateTime::now_utc();
    fs::create_dir_all(data.join("client"))?;
    let (chip, config, disk) = (data.join("chip"), data.join("config.toml"), data.join(DATA_DISK));
    if !chip.exists() {
        eprintln!("Making a simulated chip; this takes a few seconds");
        Chip::create(&chip, Product::Genoa, now)?;
    }
    if !config.exists() {
        fs::write(&config, CONFIG)?;
    }
    if !disk.exists() {
        blank_data_disk(&disk)?;
    }
    let config = fs::read(&config)?;
    write_config_disk(&data.join(CONFIG_DISK), &config)?;
    write_client_files(&data.join("client"), &Chip::open(&chip, now)?, &config, now)?;
    // The image's own values count here, and none that the simulator makes up.
    fs::remove_file(data.join("client/reference.json"))?;
    Ok(Host::new(data))
}

/// `neo-secrets`, as a user would run it.
struct Client<'a> {
    root: &'a Path,
    image: &'a Path,
    folder: &'a Path,
    url: String,
}

impl Client<'_> {
    fn shown(&self, path: &Path) -> String {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        quoted(&path_from(self.root, &path))
    }

    fn verify(&self) -> Result<(), Box<dyn Error>> {
        let output = Command::new(self.root.join("target/release/neo-secrets"))
            .args(["verify", &self.url, "--reference"])
            .arg(self.image.join("reference.json"))
            .arg("--policy")
            .arg(self.folder.join("policy.json"))
            .arg("--trust-simulated")
            .arg(self.folder.join("simulated-root.der"))
            .env_remove("NEO_SECRETS_PROFILE")
            .output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into()),
        }
    }

    /// What to type next.
    fn guide(&self, unclaimed: bool) -> String {
        let Self { root: _, image, folder, url } = self;
        let file = |name: &str| self.shown(&folder.join(name));
        let folder = self.shown(folder);
        let reference = self.shown(&image.join("reference.json"));
        let (policy, simulated) = (file("policy.json"), file("simulated-root.der"));
        let trust =
            format!("--reference {reference} --policy {policy} --trust-simulated {simulated}");
        let profile = format!("./target/release/neo-secrets --profile {folder}/profile.json");
        let (claim, create) = match unclaimed {
            true => (
                format!(
                    "\n  # Take it into possession: this makes your key pair, keys and a profile.\n  \
                 {profile} claim {url} {trust} --owner-key {folder}/owner.pem --out-dir {folder}\n"
                ),
                format!("  printf %s 'a value of your own' | {profile} secrets create my-secret\n"),
            ),
            false => (String::new(), String::new()),
        };
        format!(
            "  # What the image proves, by the values that its build wrote:\n  \
             ./target/release/neo-secrets verify {url} {trust} --explain\n{claim}\n  \
             # Then:\n  \
             {profile} verify\n{create}  \
             {profile} secrets list\n"
        )
    }
}
