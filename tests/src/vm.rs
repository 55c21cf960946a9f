//! The image in a virtual machine without SEV hardware: QEMU boots its very kernel, initrd and command
//! line. Behind the initrd stands an archive of the harness's, whose first process makes a SIMULATED
//! `/dev/sev-guest`; the secure processor is in this process, and measures what the image's build
//! measured: the initrd without that archive.

mod console;
mod disk;
mod image;
mod overlay;
mod processor;
mod qemu;

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use neo_secrets_server::platform::Platform;
use serde_json::json;
use snp_simulator::settings::{Bits, Hex};
use snp_simulator::{Chip, ChipError, Machine};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::appliance::state_of;
use crate::device::Asked;
use crate::http::Connection;

pub use console::Console;
pub use disk::{CONFIG_DISK, DATA_DISK, blank_data_disk, write_config_disk};
pub use image::{Image, ImageProblem, is_stale, uefi_firmware};
pub use qemu::missing;

/// The names by which the image finds its disks.
pub const DATA_NAME: &str = "neo-secrets-data";
pub const CONFIG_NAME: &str = "neo-secrets-conf";

/// A machine serves within this, also where others take most of the processor.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is no virtual machine.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error(transparent)]
    Image(#[from] ImageProblem),
    #[error(transparent)]
    Chip(#[from] ChipError),
    #[error("no virtual machine: {0}")]
    Io(#[from] io::Error),
    #[error("the machine does not come up: {0}")]
    Console(String),
}

/// What a host decides about a machine, beside the image. Its folder has the chip (`chip`) and the
/// two disks.
pub struct Host<'a> {
    pub folder: &'a Path,
    /// UEFI firmware; else SeaBIOS loads kernel, initrd and command line.
    pub uefi: Option<&'a Path>,
    /// Whether the machine starts from the disk with the unified kernel image. Nothing can stand
    /// behind the initrd in there, so that there is no secure processor.
    pub from_disk: bool,
    /// Whether there is a secure processor.
    pub has_processor: bool,
    /// The guest policy of the launch, where it is not the chip's usual one.
    pub policy: Option<u64>,
    /// The disks that are attached: name that the host gives, and file.
    pub disks: Vec<(&'a str, PathBuf)>,
    /// The port of this machine that leads to the server; 0: any free one.
    pub port: u16,
}

impl<'a> Host<'a> {
    /// An honest one: both disks, a secure processor.
    pub fn new(folder: &'a Path) -> Self {
        let disks = [(DATA_NAME, DATA_DISK), (CONFIG_NAME, CONFIG_DISK)];
        let disks = disks.map(|(name, file)| (name, folder.join(file))).to_vec();
        Self {
            folder,
            uefi: None,
            from_disk: false,
            has_processor: true,
            policy: None,
            disks,
            port: 0,
        }
    }
}

/// A running virtual machine. Dropped, its power is cut.
pub struct Vm {
    pub addr: SocketAddr,
    pub console: Console,
    qemu: Child,
    control: qemu::Control,
    /// Sockets and the initrd.
    _folder: TempDir,
}

impl Vm {
    /// Boots the image, and waits until its server listens.
    ///
    /// # Errors
    /// What the console said, where it comes to nothing.
    pub fn boot(image: &Image, host: &Host<'_>) -> Result<Self, BootError> {
        let vm = Self::start(image, host)?;
        vm.console.until("listening ", PATIENCE).map_err(BootError::Console)?;
        Ok(vm)
    }

    /// Boots the image, and waits for nothing.
    ///
    /// # Errors
    /// QEMU does not start.
    pub fn start(image: &Image, host: &Host<'_>) -> Result<Self, BootError> {
        let folder = tempfile::Builder::new().prefix("neo-secrets-vm-").tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let mut initrd = image.boot.initrd.clone();
        let listen = |name: &str| UnixListener::bind(folder.path().join(name));
        let (control, port) = (listen("control")?, listen("processor")?);
        let machine = host.processor(image)?;
        if machine.is_some() {
            initrd.extend(&image.overlay);
        }
        fs::write(path("initrd"), initrd)?;

        let mut qemu = qemu::Machine::new();
        if let Some(firmware) = host.uefi {
            qemu.add_option("-bios", firmware.display().to_string());
        }
        if host.from_disk {
            let drive = "if=none,id=boot,format=raw,snapshot=on,file=";
            qemu.add_option("-drive", drive.to_owned() + &qemu::value(&image.disk));
            qemu.add("-device virtio-blk-pci,drive=boot");
        } else {
            qemu.add_kernel(&image.kernel, &path("initrd"), &image.boot.command_line);
        }
        qemu.add("-device virtio-net-pci,netdev=net,romfile= -netdev");
        qemu.add(&format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{}-:8443", host.port));
        let socket = |name: &str| format!("socket,id={name},path={}", qemu::value(&path(name)));
        qemu.add_option("-chardev", socket("control"));
        qemu.add("-mon chardev=control,mode=control");
        if machine.is_some() {
            qemu.add_option("-chardev", socket("processor"));
            qemu.add("-device virtserialport,chardev=processor,name=neo-secrets-processor");
        }
        for (number, (name, file)) in host.disks.iter().enumerate() {
            let drive = format!("if=none,id=d{number},format=raw,file={}", qemu::value(file));
            qemu.add_option("-drive", drive);
            qemu.add(&format!("-device virtio-blk-pci,drive=d{number},serial={name}"));
        }
        let mut qemu = qemu.start()?;
        let control = qemu::accept(&control, &mut qemu);
        let control = control.and_then(|stream| {
            if let Some(machine) = machine {
                let port = qemu::accept(&port, &mut qemu)?;
                let asked = Asked::new(&host.folder.join("asked"))?;
                // Until the machine ends, and its port with it.
                std::thread::spawn(move || processor::serve(port, &machine, &asked));
            }
            qemu::Control::new(stream)
        });
        let control = control.and_then(|mut control| Ok((control.forwarded_port()?, control)));
        let (port, control) = match control {
            Ok(both) => both,
            Err(error) => {
                let _ended = qemu.kill().and_then(|()| qemu.wait());
                return Err(error.into());
            }
        };
        let serial = qemu.stdout.take().expect("piped by its start");
        let console = Console::capture(serial, File::create(host.folder.join("console.log"))?);
        let addr = (Ipv4Addr::LOCALHOST, port).into();
        Ok(Self { addr, console, qemu, control, _folder: folder })
    }

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

    /// Waits for these words on the console.
    ///
    /// # Panics
    /// They don't come.
    #[track_caller]
    pub fn says(&self, words: &str) {
        self.console.until(words, PATIENCE).unwrap_or_else(|log| panic!("{log}"));
    }

    /// Waits until the machine has turned itself off, and gives all that it said.
    ///
    /// # Panics
    /// It does not.
    #[track_caller]
    pub fn turned_off(mut self) -> String {
        self.console.until_end(PATIENCE).unwrap_or_else(|log| panic!("{log}"));
        self.qemu.wait().unwrap();
        self.console.text()
    }

    /// Presses the power button.
    ///
    /// # Errors
    /// QEMU's.
    pub fn press_power_button(&mut self) -> io::Result<()> {
        self.control.ask(json!({"execute": "system_powerdown"})).map(drop)
    }

    /// Cuts the power.
    pub fn cut(self) {
        drop(self);
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ended = self.qemu.kill();
        let _ended = self.qemu.wait();
    }
}

impl Host<'_> {
    /// The chip's guest, launched: it measures what the firmware would.
    fn processor(&self, image: &Image) -> Result<Option<Machine>, BootError> {
        if !self.has_processor {
            return Ok(None);
        }
        let now = OffsetDateTime::now_utc();
        let mut chip = Chip::open(&self.folder.join("chip"), now)?;
        chip.settings.guest.measurement = Hex(image.digest()?);
        if let Some(policy) = self.policy {
            chip.settings.guest.policy = Bits(policy);
        }
        let machine = Machine::launch(chip, now)?;
        let data = self.disks.iter().find(|(name, _)| *name == DATA_NAME);
        if let (Some(given), Some((_, disk))) = (machine.endorsements(), data) {
            disk::keep_endorsements(disk, &given)?;
        }
        Ok(Some(machine))
    }
}
