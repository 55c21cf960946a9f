//! `neo-secrets-image`: the command line. It runs at the top of the checkout.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use neo_secrets_attestation::measure::{Shape, VcpuType, VcpuTypeError};
use neo_secrets_attestation::reference::ReferenceValues;
use neo_secrets_image::error::ImageError;
use neo_secrets_image::{build, files, launch, sign};

/// Builds the appliance from pinned inputs, bit for bit, and measures it.
#[derive(Parser)]
#[command(name = "neo-secrets-image", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build into target/image/
    Build(Pins),
    /// Assemble the image again and compare every file with target/image/
    Check(Pins),
    /// Pin the newest packages of the manifest's suites, and this machine's tools
    Bump,
    /// Compute the launch digest of a machine, or those of reference.json, from the files
    Measure(Measure),
    /// Sign with an offline key
    #[command(subcommand)]
    Sign(Sign),
}

#[derive(Args)]
struct Pins {
    /// Where a pin cannot be kept, take what there is; the image's version then says so
    #[arg(long)]
    unpinned: bool,
}

#[derive(Args)]
struct Measure {
    /// Folder with OVMF.amdsev.fd, bzImage, initrd, cmdline, reference.json
    #[arg(long, default_value = build::FOLDER)]
    folder: PathBuf,
    /// Virtual processors; without it, every shape of reference.json is compared
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    vcpus: Option<u32>,
    #[command(flatten)]
    processor: Processor,
}

#[derive(Args)]
struct Processor {
    /// QEMU's name: EPYC-v4, EPYC-Milan, EPYC-Genoa or EPYC-Turin
    #[arg(long, default_value = "EPYC-v4", value_parser = vcpu_type)]
    vcpu_type: VcpuType,
    /// SEV_FEATURES: 0x1, or 0x21 where the host's kernel turns debug swap on
    #[arg(long, default_value = "0x1", value_parser = number)]
    sev_features: u64,
}

#[derive(Subcommand)]
enum Sign {
    /// reference.json, with an Ed25519 key: writes reference.json.sig beside it
    Reference {
        /// The private key (PEM)
        #[arg(long)]
        key: PathBuf,
        /// The file
        #[arg(default_value = "target/image/reference.json")]
        file: PathBuf,
    },
    /// An ID block for one shape of machine, with a P-384 key: writes what QEMU takes, in base64
    IdBlock {
        /// The private key (PEM)
        #[arg(long)]
        key: PathBuf,
        /// Folder with reference.json
        #[arg(long, default_value = build::FOLDER)]
        folder: PathBuf,
        /// Where to write
        #[arg(long, default_value = ".")]
        out: PathBuf,
        /// Virtual processors
        #[arg(long)]
        vcpus: u32,
        #[command(flatten)]
        processor: Processor,
        /// The guest policy, as QEMU's sev-snp-guest has it
        #[arg(long, default_value = "0x30133", value_parser = number)]
        policy: u64,
        /// GUEST_SVN [default: reference.json's guestSvnMin]
        #[arg(long)]
        guest_svn: Option<u32>,
    },
    /// Print the ID_KEY_DIGEST of a P-384 key, for the manifest
    KeyDigest {
        /// The private key (PEM)
        #[arg(long)]
        key: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(CommandLine::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("neo-secrets-image: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), ImageError> {
    match command {
        Command::Build(Pins { unpinned }) => run_build(!unpinned),
        Command::Check(Pins { unpinned }) => {
            let count = build::check(&top()?, !unpinned)?;
            println!("{count} files of {} are what a second assembly gives.", build::FOLDER);
            Ok(())
        }
        Command::Bump => {
            let changes = build::bump(&top()?)?;
            match changes.as_slice() {
                [] => println!("Every pin is the newest."),
                changes => println!("{}\nThe image's measurement changes.", changes.join("\n")),
            }
            Ok(())
        }
        Command::Measure(measure) => run_measure(&measure),
        Command::Sign(sign) => run_sign(sign),
    }
}

fn run_build(pinned: bool) -> Result<(), ImageError> {
    let start = Instant::now();
    let inputs = build::build(&top()?, pinned)?;
    print!("{}", files::read_text(Path::new(build::FOLDER).join("SHA256SUMS"))?);
    println!("{} in {} s", build::FOLDER, start.elapsed().as_secs());
    if !inputs.unpinned.is_empty() {
        eprintln!(
            "\nUNPINNED: this image is not the one that others build. It has\n  {}",
            inputs.unpinned.join("\n  ")
        );
    }
    Ok(())
}

fn run_measure(measure: &Measure) -> Result<(), ImageError> {
    let Measure { folder, vcpus, processor } = measure;
    let boot = build::direct_boot(folder)?;
    match vcpus {
        Some(vcpus) => {
            println!("{}", files::hex(&boot.launch()?.digest(&processor.shape(*vcpus))?));
        }
        None => {
            let count = launch::check(&reference(folder)?, &boot)?;
            println!("All {count} digests of reference.json are those of the files beside it.");
        }
    }
    Ok(())
}

fn run_sign(command: Sign) -> Result<(), ImageError> {
    match command {
        Sign::Reference { key, file } => {
            let text = files::read(&file)?;
            parse(&file, &text)?;
            let mut path = file.into_os_string();
            path.push(".sig");
            let (signature, public) = sign::reference(&key, &text)?;
            files::write(&path, signature)?;
            println!("{}\n--reference-key {public}", Path::new(&path).display());
        }
        Sign::IdBlock { key, folder, out, vcpus, processor, policy, guest_svn } => {
            let reference = reference(&folder)?;
            let shape = processor.shape(vcpus);
            let digest = build::direct_boot(&folder)?.launch()?.digest(&shape)?;
            let key = sign::IdKey::read(&key)?;
            let guest_svn = guest_svn.unwrap_or(reference.guest_svn_min);
            let signed = key.identify(&digest, &reference, guest_svn, policy)?;
            let parts = [signed.block.as_slice(), &signed.auth];
            files::make_folder(&out)?;
            for (name, bytes) in sign::file_names(&shape).iter().zip(parts) {
                let path = out.join(name);
                files::write(&path, data_encoding::BASE64.encode(bytes))?;
                println!("{}", path.display());
            }
            println!("ID_KEY_DIGEST {}", files::hex(&signed.key_digest));
        }
        Sign::KeyDigest { key } => println!("{}", files::hex(&sign::IdKey::read(&key)?.digest()?)),
    }
    Ok(())
}

impl Processor {
    fn shape(&self, vcpus: u32) -> Shape {
        let Self { vcpu_type, sev_features } = *self;
        Shape { vcpus, vcpu_type, sev_features }
    }
}

/// The checkout's absolute path.
fn top() -> Result<PathBuf, ImageError> {
    Path::new(".").canonicalize().map_err(|source| files::at(".", source))
}

fn reference(folder: &Path) -> Result<ReferenceValues, ImageError> {
    let path = folder.join("reference.json");
    parse(&path, &files::read(&path)?)
}

fn parse(path: &Path, text: &[u8]) -> Result<ReferenceValues, ImageError> {
    ReferenceValues::parse(text)
        .map_err(|error| ImageError::Output { path: path.to_owned(), problem: error.to_string() })
}

fn vcpu_type(text: &str) -> Result<VcpuType, VcpuTypeError> {
    text.parse()
}

fn number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").ok_or("expected 0x and hexadecimal digits")?;
    u64::from_str_radix(digits, 16).map_err(|error| error.to_string())
}
