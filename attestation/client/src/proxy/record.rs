//! What is remembered of verifications, for the status page.

use data_encoding::HEXLOWER;
use neo_secrets_attestation::appraise::Appraised;
use neo_secrets_attestation::reference::Covers;
use neo_secrets_attestation::time::UnixTime;
use serde_json::{Value, json};

use crate::proxy::pool::NoConnection;
use crate::proxy::problem::Problem;

/// How many connections were verified, and how the last ones ended.
#[derive(Default)]
pub(super) struct Record {
    done: u64,
    failed: u64,
    last: Value,
    last_refusal: Value,
}

impl Record {
    pub(super) fn verified(&mut self, appraised: &Appraised, now: UnixTime) {
        self.done += 1;
        let report = appraised.report();
        self.last = json!({
            "time": now.to_string(),
            "product": report.product().to_string(),
            "reportedTcb": report.tcbs().reported.to_string(),
            "measurement": HEXLOWER.encode(&appraised.measurement().digest),
            "imageVersion": appraised.claims().image_version.as_str(),
            "covers": match appraised.covers() {
                Covers::Image => "image",
                Covers::Firmware => "firmware",
            },
        });
    }

    pub(super) fn failed(&mut self, error: &NoConnection, now: UnixTime) {
        self.failed += 1;
        if let Problem::EvidenceRefused { message, details } = Problem::from(error) {
            self.last_refusal =
                json!({ "time": now.to_string(), "message": message, "details": details });
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let Self { done, failed, last, last_refusal } = self;
        json!({ "done": done, "failed": failed, "last": last, "lastRefusal": last_refusal })
    }
}
