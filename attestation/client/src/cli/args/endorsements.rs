//! `endorsements ..`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use neo_secrets_attestation::product::Product;

#[derive(Subcommand, Debug)]
pub(crate) enum Endorsements {
    /// Send certificates or a CRL to an instance, over a connection that is NOT verified
    ///
    /// This has to work before there is evidence to verify, and nothing that it sends is secret: it
    /// needs neither a key nor reference values nor a policy, and it proves nothing about the
    /// machine. The machine keeps only what its own reports verify by; `neo-secrets verify` tells
    /// whether it has helped.
    Update(UpdateEndorsements),
    /// Print where AMD has them, with a curl line for each; the connection is NOT verified
    Urls(EndorsementUrls),
}

#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct UpdateEndorsements {
    /// The revocation list, DER or PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) crl: Option<PathBuf>,
    /// The VCEK or VLEK, DER or PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(requires = "ask", requires = "ark")]
    pub(crate) vek: Option<PathBuf>,
    /// The ASK or ASVK, DER or PEM; AMD's cert_chain will do
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "vek")]
    pub(crate) ask: Option<PathBuf>,
    /// The ARK, DER or PEM; AMD's cert_chain will do
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "vek")]
    pub(crate) ark: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct EndorsementUrls {
    /// A raw report of 1184 bytes, instead of asking the instance
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) report: Option<PathBuf>,
    /// The processor, which a report of version 2 does not name: Milan or Genoa
    #[arg(long, value_name = "PRODUCT")]
    pub(crate) product: Option<Product>,
}
