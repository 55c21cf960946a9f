//! An outcome as the list of steps that it went through, for people and for `--json`.

use std::fmt;

use serde::Serialize;

use crate::appraise::{Appraised, Verified};
use crate::encoding::hex;
use crate::error::{Finding, Step};
use crate::exchange::Refusal;
use crate::limits;
use crate::reference::Covers;
use crate::roots::Provenance;
use crate::verify::{CrlStatus, Signer, Tcbs};

/// Whether a character changes what a person sees around it, or hides itself: controls, marks that
/// reorder or break lines, and characters without a width. Text from outside is shown without them.
pub fn hides_or_steers(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Text from outside as a message can hold it: nothing that steers a terminal, and not much.
pub fn printable(text: &str) -> String {
    let visible = |character| {
        if hides_or_steers(character) { char::REPLACEMENT_CHARACTER } else { character }
    };
    text.chars().take(limits::ERROR_TEXT_CHARACTERS_MAX).map(visible).collect()
}

/// One numbered step of SPEC.md section 6.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// 0 to 11.
    pub number: u8,
    /// What the step checks.
    pub title: &'static str,
    /// How it ended.
    pub state: State,
    /// What it found: for a failed step the field and both values.
    pub facts: Vec<Fact>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It holds.
    Passed,
    /// It does not, and the evidence is refused.
    Failed,
    /// An earlier one failed.
    NotReached,
}

/// A named value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// The name, such as `MEASUREMENT` or `expected`.
    pub name: String,
    /// The value.
    pub value: String,
}

/// What the steps have found in evidence that is genuine, whatever it is judged to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found(Vec<Vec<Fact>>);

impl Found {
    pub(crate) fn of(verified: &Verified) -> Self {
        Self(Step::ALL.into_iter().map(|step| genuine(step, verified)).collect())
    }

    fn at(&self, step: Step) -> Vec<Fact> {
        self.0.get(usize::from(step.number())).cloned().unwrap_or_default()
    }
}

/// The steps from 0 to 11 with their outcome.
pub fn explain(outcome: Result<&Appraised, &Refusal>) -> Vec<Explained> {
    let refused = outcome.err().map(Refusal::finding);
    let explained = |step: Step| {
        let (state, facts) = match &refused {
            Some(finding) if finding.step < step => (State::NotReached, Vec::new()),
            Some(finding) if finding.step == step => (State::Failed, refused_facts(finding)),
            Some(_) | None => (
                State::Passed,
                match outcome {
                    Ok(appraised) => facts(step, appraised),
                    Err(Refusal::Appraisal { found, .. }) => found.at(step),
                    Err(_) => Vec::new(),
                },
            ),
        };
        Explained { number: step.number(), title: step.title(), state, facts }
    };
    Step::ALL.into_iter().map(explained).collect()
}

fn fact(name: &str, value: impl fmt::Display) -> Fact {
    Fact { name: name.to_owned(), value: value.to_string() }
}

fn refused_facts(finding: &Finding) -> Vec<Fact> {
    let Finding { step: _, field, got, expected } = finding;
    vec![fact("field", field), fact("got", got), fact("expected", expected)]
}

/// What a passed step found.
fn facts(step: Step, appraised: &Appraised) -> Vec<Fact> {
    let (claims, config) = (appraised.claims(), appraised.config());
    let phase = &claims.phase;
    match step {
        Step::Measurement => {
            let covers = match appraised.covers() {
                Covers::Image => "the image",
                Covers::Firmware => "FIRMWARE ONLY, IMAGE NOT PROVEN",
            };
            vec![
                fact("MEASUREMENT", appraised.measurement()),
                fact("covers", covers),
                fact("imageVersion", claims.image_version.as_str()),
                fact("seal", config.seal.as_str()),
                fact("reveal", config.reveal.as_str()),
                fact("owner_key", config.owner_key),
            ]
        }
        Step::Chip => vec![fact("policy expires", appraised.policy_expires())],
        Step::Instance => {
            let store = phase.store_id().map(|id| fact("storeId", id));
            let key = phase.instance_key().map(|key| fact("instanceKey", key));
            [Some(fact("phase", phase.as_str())), store, key].into_iter().flatten().collect()
        }
        _ => genuine(step, appraised.verified()),
    }
}

/// The same, as far as evidence tells it that is genuine and not yet judged.
fn genuine(step: Step, evidence: &Verified) -> Vec<Fact> {
    let (verified, claims) = (evidence.report(), evidence.claims());
    let report = verified.report();
    let Tcbs { current, reported, committed, launch } = verified.tcbs();
    match step {
        Step::Document => vec![fact("platform", "sev-snp")],
        Step::Report => vec![fact("VERSION", report.version.number())],
        Step::Root => {
            let root = match verified.provenance() {
                Provenance::Amd => "AMD's",
                Provenance::Simulated => "SIMULATED: this proves nothing about any machine",
            };
            vec![fact("root", root), fact("product", verified.product())]
        }
        Step::Chain => vec![match verified.crl() {
            CrlStatus::Current { next_update } => fact("CRL", format!("next due {next_update}")),
            CrlStatus::Stale { next_update } => {
                fact("CRL", format!("STALE: the next was due {next_update}"))
            }
            CrlStatus::NotChecked => fact("CRL", "absent: revocation NOT CHECKED"),
        }],
        Step::ReportSignature => vec![fact("signed by", report.key_info.signing_key)],
        Step::Identity => {
            let owner = match verified.signer() {
                Signer::Vcek { chip_id } => fact("CHIP_ID", hex(chip_id)),
                Signer::Vlek { csp_id } => fact("CSP_ID", csp_id),
            };
            vec![owner, fact("REPORTED_TCB", reported)]
        }
        Step::Binding => vec![
            fact("REPORT_DATA", hex(&report.report_data)),
            fact("tlsSpkiSha256", hex(&claims.tls_spki_sha256)),
        ],
        Step::GuestPolicy => {
            vec![fact("POLICY", format!("{:#x}", report.policy.0)), fact("VMPL", report.vmpl)]
        }
        Step::Measurement => vec![
            fact("MEASUREMENT", hex(&report.measurement)),
            fact("imageVersion", claims.image_version.as_str()),
        ],
        Step::Platform => vec![
            fact("CURRENT_TCB", current),
            fact("COMMITTED_TCB", committed),
            fact("LAUNCH_TCB", launch),
            fact("PLATFORM_INFO", format!("{:#x}", report.platform_info.0)),
        ],
        Step::Chip | Step::Instance => Vec::new(),
    }
}
