//! `neo-secrets report`: every field of a raw report, and steps 1 to 5 on it, offline.

use std::path::{Path, PathBuf};

use neo_secrets_attestation::certificate_table::CertificateTable;
use neo_secrets_attestation::endorsements::{Endorsements, EndorsementsError};
use neo_secrets_attestation::error::{Finding, Step, VerifyError};
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::report::{Report, ReportError, SigningKey};
use neo_secrets_attestation::roots::Roots;
use neo_secrets_attestation::time::UnixTime;
use neo_secrets_attestation::verify::{
    CrlRule, CrlStatus, CspIdRule, Rules, Signer, VerifiedReport, verify_report,
};
use openssl::nid::Nid;
use openssl::x509::X509;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::args;
use crate::cli::fields;
use crate::cli::outcome::{Done, Exit, Failure, Shown};
use crate::cli::page::Page;
use crate::cli::terminal::printable;
use crate::files;
use crate::limits;

/// The first five steps, as they are shown.
const STEPS: [Step; 5] =
    [Step::Report, Step::Root, Step::Chain, Step::ReportSignature, Step::Identity];

pub(crate) fn run(command: &args::Report, roots: Roots, now: UnixTime) -> Result<Done, Failure> {
    let args::Report { file, vek, authorities, cert_table, crl, at } = command;
    let now = at.unwrap_or(now);
    let raw = read(file)?;
    let parsed = Report::try_from(raw.as_slice());
    let names: Vec<&PathBuf> = vek.iter().chain(authorities).collect();
    let bags = names.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let crl_bytes = crl.as_deref().map(read).transpose()?;
    let table_bytes = cert_table.as_deref().map(read).transpose()?;

    let mut given = Given::default();
    for (name, bytes) in names.iter().zip(&bags) {
        given.certificates.push((name, bytes));
    }
    given.crl = crl.as_deref().zip(crl_bytes.as_ref().map(|bytes| bytes.as_slice()));
    let tabled = match cert_table.as_deref().zip(table_bytes.as_ref()) {
        None => Ok(()),
        Some((name, bytes)) => {
            let signer = parsed.as_ref().map_or(SigningKey::None, |it| it.key_info.signing_key);
            given.add_table(name, bytes, signer)
        }
    };
    let leaf = given.certificates.iter().find_map(|(_, bytes)| leaf_product(bytes));
    let endorsements = tabled.and_then(|()| given.endorsements());
    // A list that the user gives must be current; without one, revocation is not checked, and that
    // is shown. A list of the host's is obeyed, and shown where it is old.
    let crl_rule = if crl.is_some() { CrlRule::Required } else { CrlRule::MayBeAbsent };
    let rules = Rules { roots, crl: crl_rule, csp_ids: CspIdRule::Any };
    let outcome = match (parsed, endorsements) {
        (Err(error), _) => Outcome::Refused(error.into()),
        (Ok(_), Err(incomplete)) => incomplete,
        (Ok(_), Ok(endorsements)) => match verify_report(&raw, &endorsements, &rules, now) {
            Ok(verified) => Outcome::Holds(Box::new(verified)),
            Err(error) => Outcome::Refused(error),
        },
    };
    Ok(examined(&raw, &outcome, leaf, &rules, now))
}

enum Outcome {
    Holds(Box<VerifiedReport>),
    Refused(VerifyError),
    /// Step 1 holds; for the rest something is missing.
    NoEndorsements {
        told: String,
        missing: bool,
    },
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    files::read_bounded(path, limits::INPUT_FILE_BYTES_MAX).map_err(Failure::error)
}

/// What the user gave, each with the name of its file.
#[derive(Default)]
struct Given<'a> {
    certificates: Vec<(&'a Path, &'a [u8])>,
    crl: Option<(&'a Path, &'a [u8])>,
}

impl<'a> Given<'a> {
    /// Adds what a host's table holds for a report that this key signed. A list of the user's own
    /// goes before the host's.
    fn add_table(
        &mut self,
        name: &'a Path,
        bytes: &'a [u8],
        signer: SigningKey,
    ) -> Result<(), Outcome> {
        let table = CertificateTable::parse(bytes).map_err(|error| {
            let told = format!("{}: {error}", name.display());
            Outcome::NoEndorsements { told, missing: false }
        })?;
        self.certificates.extend(table.certificates(signer).map(|bytes| (name, bytes)));
        self.crl = self.crl.or(table.crl.map(|crl| (name, crl)));
        Ok(())
    }

    /// The certificates in their places; what is wrong is told with the file's name.
    fn endorsements(&self) -> Result<Endorsements, Outcome> {
        if self.certificates.is_empty() {
            let told = "no certificate is given".to_owned();
            return Err(Outcome::NoEndorsements { told, missing: true });
        }
        let (names, files): (Vec<&Path>, Vec<&[u8]>) = self.certificates.iter().copied().unzip();
        let sorted = Endorsements::from_files(&files).map_err(|error| tell(&names, &error))?;
        match self.crl {
            None => Ok(sorted),
            Some((name, crl)) => sorted.with_crl_file(crl).map_err(|error| tell(&[name], &error)),
        }
    }
}

/// An error that counts the files, with their names instead.
fn tell(names: &[&Path], error: &EndorsementsError) -> Outcome {
    let name =
        |file: &usize| names.get(*file).map_or("?".to_owned(), |path| path.display().to_string());
    let told = match error {
        EndorsementsError::FileTooLong { file, .. }
        | EndorsementsError::Nothing { file, .. }
        | EndorsementsError::Pem { file }
        | EndorsementsError::SeveralCrls { file }
        | EndorsementsError::Certificate { file, .. } => {
            let told = error.to_string();
            told.replacen(&format!("file {file}"), &name(file), 1)
        }
        EndorsementsError::TooMany
        | EndorsementsError::Missing { .. }
        | EndorsementsError::Several { .. } => error.to_string(),
    };
    let missing = matches!(error, EndorsementsError::Missing { .. });
    Outcome::NoEndorsements { told, missing }
}

/// The product that a VEK's certificate names as its issuer's. Only for showing a report that is
/// not verified.
fn leaf_product(bytes: &[u8]) -> Option<Product> {
    let certificate = X509::from_der(bytes).or_else(|_| X509::from_pem(bytes)).ok()?;
    let name = |name: &openssl::x509::X509NameRef| {
        let text = name.entries_by_nid(Nid::COMMONNAME).next()?.data().to_string().ok()?;
        Some(text)
    };
    name(certificate.subject_name())
        .filter(|subject| ["SEV-VCEK", "SEV-VLEK"].contains(&subject.as_str()))?;
    let issuer = name(certificate.issuer_name())?;
    issuer.rsplit_once('-')?.1.parse().ok()
}

fn examined(
    raw: &[u8],
    outcome: &Outcome,
    leaf: Option<Product>,
    rules: &Rules,
    now: UnixTime,
) -> Done {
    let (report, unshown) = readable(raw);
    let shown_fields = report.as_ref().map(|report| {
        let product = match outcome {
            Outcome::Holds(verified) => Some(verified.product()),
            _ => report.cpuid.and_then(Product::from_cpuid).or(leaf),
        };
        fields::fields(report, product)
    });
    let warnings = report.as_ref().map(warnings).unwrap_or_default();
    let simulated = rules.roots != Roots::Amd;
    let steps = steps(outcome, simulated, now);

    let mut human = String::new();
    if let Some(fields) = &shown_fields {
        human.push_str(&fields::to_text(fields));
        human.push('\n');
    }
    for (offset, got) in &unshown {
        human.push_str(&format!(
            "byte {offset:#05x} is {got:#04x}: reserved, and not part of a field above\n"
        ));
    }
    for step in &steps {
        human.push_str(&step.to_text());
    }
    for warning in &warnings {
        human.push_str(&format!("WARNING: {warning}\n"));
    }
    let failure = failure(outcome).map(|failure| failure.simulated(simulated));
    let mut json = json!({
        "verified": failure.is_none(),
        "simulated": simulated,
        "at": now.to_string(),
        "steps": steps.iter().map(ShownStep::to_json).collect::<Value>(),
        "warnings": warnings,
        "fields": shown_fields.as_deref().map(fields::to_json),
    });
    if let Outcome::Holds(verified) = outcome {
        json["product"] = json!(verified.product().to_string());
        json["revocation"] = json!(revocation(verified.crl()));
    }
    Shown::with(Page::new().text(human).essential(Vec::new()), json, failure)
}

/// The report for showing it: where step 1 refuses reserved bytes, without these, and which they
/// are.
fn readable(raw: &[u8]) -> (Option<Report>, Vec<(usize, u8)>) {
    let (mut readable, mut unshown) = (raw.to_vec(), Vec::new());
    loop {
        match Report::try_from(readable.as_slice()) {
            Ok(report) => return (Some(report), unshown),
            Err(
                ReportError::Reserved { offset, got }
                | ReportError::SignaturePadding { offset, got },
            ) => {
                let Some(byte) = readable.get_mut(offset).filter(|byte| **byte & got != 0) else {
                    return (None, unshown);
                };
                *byte &= !got;
                unshown.push((offset, got));
            }
            Err(_) => return (None, unshown),
        }
    }
}

fn failure(outcome: &Outcome) -> Option<Failure> {
    match outcome {
        Outcome::Holds(_) => None,
        Outcome::Refused(error) => {
            let failure = Failure::refused(error.finding());
            Some(match advice(error) {
                Some(advice) => failure.advice(advice),
                None => failure,
            })
        }
        Outcome::NoEndorsements { told, missing } => {
            let message = format!("steps 2 to 5 can't be checked: {}", printable(told));
            let failure = Failure::new(Exit::Refused, message);
            let advice = "give the chip's certificate with --vek FILE, and AMD's ARK and ASK (ASVK \
                for a VLEK) of the same product with --ca FILE, in any order";
            Some(if *missing { failure.advice(advice) } else { failure })
        }
    }
}

fn advice(error: &VerifyError) -> Option<&'static str> {
    match error {
        VerifyError::NotYetValid { .. }
        | VerifyError::Expired { .. }
        | VerifyError::CrlStale { .. }
        | VerifyError::CrlNotYetValid { .. } => {
            Some("--at RFC3339 checks at another time, for example when the report was made")
        }
        VerifyError::Root { .. } => {
            Some("a simulated chip's report is checked with --trust-simulated ROOT")
        }
        VerifyError::AskSignature | VerifyError::VekSignature => Some(
            "the certificates do not belong together: take ARK and ASK (or ASVK) of the VEK's \
             product",
        ),
        VerifyError::ReportSignature => Some(
            "the certificate is another chip's, or one for another REPORTED_TCB, or the report was \
             changed: the VCEK to take is that of this CHIP_ID and REPORTED_TCB",
        ),
        _ => None,
    }
}

/// What does not refuse a report here, and would refuse an instance.
fn warnings(report: &Report) -> Vec<String> {
    let debug = report
        .policy
        .debug_allowed()
        .then(|| "POLICY has DEBUG: the host may read this guest's memory".to_owned());
    let vmpl = (report.vmpl != 0).then(|| {
        format!(
            "VMPL is {}, not 0: less privileged software in the guest asked for it",
            report.vmpl
        )
    });
    debug.into_iter().chain(vmpl).collect()
}

fn revocation(status: CrlStatus) -> String {
    match status {
        CrlStatus::Current { next_update } => format!("checked; next CRL {next_update}"),
        CrlStatus::Stale { next_update } => format!("checked with an old CRL, due {next_update}"),
        CrlStatus::NotChecked => "NOT CHECKED: no --crl was given".to_owned(),
    }
}

struct ShownStep {
    step: Step,
    state: &'static str,
    facts: Vec<(&'static str, String)>,
}

impl ShownStep {
    fn to_text(&self) -> String {
        let Self { step, state, facts } = self;
        let mut text = format!("step {step}  {state:<11}  {}\n", step.title());
        for (name, value) in facts {
            text.push_str(&format!("{:21}{name}: {}\n", "", printable(value)));
        }
        text
    }

    fn to_json(&self) -> Value {
        let Self { step, state, facts } = self;
        let facts: serde_json::Map<String, Value> =
            facts.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({ "number": step.number(), "title": step.title(), "state": state, "facts": facts })
    }
}

fn steps(outcome: &Outcome, simulated: bool, now: UnixTime) -> Vec<ShownStep> {
    let stopped = match outcome {
        Outcome::Holds(_) => None,
        Outcome::NoEndorsements { .. } => Some((Step::Root, "not checked", "not checked")),
        Outcome::Refused(error) => Some((error.step(), "REFUSED", "not reached")),
    };
    let shown = |step: Step| {
        let state = match stopped {
            Some((at, state, _)) if step == at => state,
            Some((at, _, after)) if step > at => after,
            _ => "holds",
        };
        let facts = match (outcome, stopped) {
            (Outcome::Holds(verified), _) => facts(step, verified, simulated, now),
            (Outcome::Refused(error), Some((at, ..))) if step == at => {
                let Finding { step: _, field, got, expected } = error.finding();
                vec![("field", field), ("got", got), ("expected", expected)]
            }
            _ if step == Step::Root && state == "holds" => vec![root(simulated)],
            _ => Vec::new(),
        };
        ShownStep { step, state, facts }
    };
    STEPS.into_iter().map(shown).collect()
}

/// Whose root it is.
fn root(simulated: bool) -> (&'static str, String) {
    let simulation = "SIMULATED: this proves nothing about any machine";
    ("root", if simulated { simulation } else { "AMD's" }.to_owned())
}

/// What a step that holds has found.
fn facts(
    step: Step,
    verified: &VerifiedReport,
    simulated: bool,
    now: UnixTime,
) -> Vec<(&'static str, String)> {
    match step {
        Step::Root => {
            vec![root(simulated), ("product", verified.product().to_string())]
        }
        Step::Chain => {
            vec![("valid at", now.to_string()), ("revocation", revocation(verified.crl()))]
        }
        Step::ReportSignature => vec![("signed by", verified.signer().kind().to_string())],
        Step::Identity => match verified.signer() {
            Signer::Vcek { chip_id } => {
                vec![("chip id", data_encoding::HEXLOWER.encode(chip_id))]
            }
            Signer::Vlek { csp_id } => vec![("provider", csp_id.clone())],
        },
        _ => Vec::new(),
    }
}
