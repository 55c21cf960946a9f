//! `neo-secrets endorsements ..`: brings an instance the certificates and the CRL that go with its
//! evidence, and says where AMD has them. Without them there is no evidence to verify, and nothing
//! here is secret, so these are the commands that talk to a machine that nobody has verified.

use std::path::{Path, PathBuf};

use data_encoding::{BASE64, HEXLOWER};
use hyper::StatusCode;
use neo_secrets_attestation::endorsements::Endorsements;
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::report::{Report, SigningKey};
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;

use crate::cli::args::{EndorsementUrls, Endorsements as Command, UpdateEndorsements};
use crate::cli::outcome::{Failure, Shown};
use crate::cli::page::Page;
use crate::cli::terminal::printable;
use crate::connection::{Answer, Public, UnverifiedConnection};
use crate::files;
use crate::limits;
use crate::tls;
use crate::url::InstanceUrl;

/// Where AMD serves them.
const KDS: &str = "https://kdsintf.amd.com";

pub(crate) async fn run(
    command: &Command,
    url: impl FnOnce() -> Result<InstanceUrl, Failure>,
) -> Result<Shown, Failure> {
    match command {
        Command::Update(update) => {
            let UpdateEndorsements { crl, vek, ask, ark } = update;
            let chain = match (vek, ask, ark) {
                (Some(vek), Some(ask), Some(ark)) => Some(read_chain([vek, ask, ark])?),
                _ => None, // the parser lets none of them stand alone
            };
            let crl = crl.as_deref().map(read_crl).transpose()?;
            self::update(&url()?, chain, crl).await
        }
        Command::Urls(EndorsementUrls { report: Some(file), product }) => {
            let report = read(file)?;
            urls(&report, *product, None)
        }
        Command::Urls(EndorsementUrls { report: None, product }) => {
            let url = url()?;
            let report = last_report(&url).await?;
            urls(&report, *product, Some(&url))
        }
    }
}

/// The certificates first: without their root no CRL can be verified.
async fn update(
    url: &InstanceUrl,
    chain: Option<Endorsements>,
    crl: Option<Vec<u8>>,
) -> Result<Shown, Failure> {
    let mut connection = connect(url).await?;
    let (mut human, mut shown) = (String::new(), json!({ "url": url.to_string() }));
    if let Some(chain) = chain {
        let answer = connection.send(&Public::Certificates(&chain)).await;
        expect_ok(answer.map_err(Failure::error)?)?;
        human.push_str("certificates  accepted\n");
        shown["certificates"] = json!("accepted");
    }
    if let Some(crl) = crl {
        let answer = connection.send(&Public::Crl(&crl)).await.map_err(Failure::error)?;
        let body = expect_ok(answer).map_err(|failure| match shown.get("certificates") {
            Some(_) => failure.detail("the certificates were accepted".to_owned()),
            None => failure,
        })?;
        let date = |name: &str| body[name].as_str().map(printable).unwrap_or_default();
        let (made, next) = (date("thisUpdate"), date("nextUpdate"));
        human.push_str(&format!("CRL           accepted, of {made}; the next is due {next}\n"));
        shown["crl"] = json!({ "thisUpdate": made, "nextUpdate": next });
    }
    Ok(Shown::new(Page::new().text(human), &shown))
}

async fn connect(url: &InstanceUrl) -> Result<UnverifiedConnection, Failure> {
    let tls = TlsConnector::from(tls::config().map_err(Failure::error)?);
    UnverifiedConnection::open(url, &tls).await.map_err(Failure::error)
}

fn expect_ok(answer: Answer) -> Result<Value, Failure> {
    match answer.status {
        StatusCode::OK => serde_json::from_slice(&answer.body)
            .map_err(|_| Failure::error("the server's answer is not the API's")),
        _ => Err(Failure::from_answer(&answer)),
    }
}

async fn last_report(url: &InstanceUrl) -> Result<Vec<u8>, Failure> {
    let answer = connect(url).await?.send(&Public::LastReport).await.map_err(Failure::error)?;
    let body = expect_ok(answer)?;
    let report = body["report"].as_str().and_then(|text| BASE64.decode(text.as_bytes()).ok());
    report.ok_or_else(|| Failure::error("the server's answer holds no report"))
}

/// Where AMD has what a report needs, and the lines that fetch and bring it.
fn urls(
    report: &[u8],
    named: Option<Product>,
    instance: Option<&InstanceUrl>,
) -> Result<Shown, Failure> {
    let report = Report::try_from(report)
        .map_err(|error| Failure::error(format!("this is no report: {error}")))?;
    let product = product(&report, named)?;
    let sources = Sources::of(&report, product)?;
    let Sources { vek, chain, crl } = &sources;
    let (key, vek_file) = match report.key_info.signing_key {
        SigningKey::Vlek => ("VLEK", "vlek.der"),
        SigningKey::Vcek | SigningKey::None => ("VCEK", "vcek.der"),
    };
    let theirs = "the cloud provider has it: AMD gives it to nobody else".to_owned();
    let mut human = format!(
        "{key:<11} {}\ncert_chain  {chain}\nCRL         {crl}\n\nWhere there is a network:\n\n",
        vek.as_ref().unwrap_or(&theirs)
    );
    let files = [(vek.as_ref(), vek_file), (Some(chain), "cert_chain.pem"), (Some(crl), "crl.der")];
    for (source, file) in files {
        if let Some(source) = source {
            human.push_str(&format!("curl --proto '=https' -fsS -o {file} '{source}'\n"));
        }
    }
    let target = instance.map_or("https://HOST:PORT".to_owned(), InstanceUrl::to_string);
    human.push_str(&format!(
        "neo-secrets endorsements update --url '{target}' --vek {vek_file} --ask cert_chain.pem \
         --ark cert_chain.pem --crl crl.der\n"
    ));
    let shown = json!({
        "product": product.to_string(), "signingKey": report.key_info.signing_key.to_string(),
        "vek": vek, "certChain": chain, "crl": crl,
    });
    Ok(Shown::new(Page::new().text(human), &shown))
}

/// The product that the report names; one of version 2 names none.
fn product(report: &Report, named: Option<Product>) -> Result<Product, Failure> {
    match (report.cpuid, named) {
        (Some(cpuid), _) => Product::from_cpuid(cpuid).ok_or_else(|| {
            Failure::error(format!("this program knows no product with the CPUID {cpuid}"))
        }),
        (None, Some(named)) => Ok(named),
        (None, None) => Err(Failure::usage("a report of version 2 does not name its processor")
            .advice("type --product Milan or --product Genoa")),
    }
}

/// AMD's addresses.
#[derive(Debug, PartialEq, Eq)]
struct Sources {
    /// A VCEK's; a VLEK is the provider's to hand over.
    vek: Option<String>,
    chain: String,
    crl: String,
}

impl Sources {
    /// For what a report says of its chip and of the firmware that it was signed as.
    fn of(report: &Report, product: Product) -> Result<Self, Failure> {
        let (kind, vek) = match report.key_info.signing_key {
            SigningKey::Vlek => ("vlek", None),
            SigningKey::Vcek => ("vcek", Some(vcek_url(report, product)?)),
            SigningKey::None => {
                return Err(Failure::error(
                    "the report is not signed: the host masks the chip's key",
                ));
            }
        };
        let of_product = |what| format!("{KDS}/{kind}/v1/{product}/{what}");
        Ok(Sources { vek, chain: of_product("cert_chain"), crl: of_product("crl") })
    }
}

fn vcek_url(report: &Report, product: Product) -> Result<String, Failure> {
    let chip = report.chip_id.of(product).filter(|_| !report.chip_id.is_masked());
    let chip = chip.ok_or_else(|| {
        Failure::error(format!("the report's chip id is masked, or none of {product}"))
    })?;
    let tcb = report.reported_tcb.of(product);
    let tcb = tcb.map_err(|error| Failure::error(format!("REPORTED_TCB: {error}")))?;
    let fmc = tcb.fmc.map(|fmc| format!("fmcSPL={fmc:02}&")).unwrap_or_default();
    Ok(format!(
        "{KDS}/vcek/v1/{product}/{}?{fmc}blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
        HEXLOWER.encode(chip),
        tcb.boot_loader,
        tcb.tee,
        tcb.snp,
        tcb.microcode
    ))
}

/// The chain in files of either form; AMD's `cert_chain` has two of the three.
fn read_chain(paths: [&PathBuf; 3]) -> Result<Endorsements, Failure> {
    let files = paths.map(|path| read(path));
    let [vek, ask, ark] = files;
    let files = [vek?, ask?, ark?];
    let files = [files[0].as_slice(), files[1].as_slice(), files[2].as_slice()];
    Endorsements::from_files(&files).map_err(|error| {
        let mut told = error.to_string();
        for (index, path) in paths.iter().enumerate() {
            told = told.replace(&format!("file {index}"), &path.display().to_string());
        }
        Failure::error(told)
    })
}

fn read_crl(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = read(path)?;
    let nothing = Endorsements { vek: Vec::new(), ask: Vec::new(), ark: Vec::new(), crl: None };
    match nothing.with_crl_file(&bytes) {
        Ok(Endorsements { crl: Some(crl), .. }) => Ok(crl),
        Ok(_) => Err(Failure::error(format!("{} holds no CRL", path.display()))),
        Err(error) => {
            let told = error.to_string().replace("file 0", &path.display().to_string());
            Err(Failure::error(told))
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = files::read_bounded(path, limits::INPUT_FILE_BYTES_MAX).map_err(Failure::error)?;
    Ok(bytes.to_vec())
}
