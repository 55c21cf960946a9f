//! How the values in bodies stand in CBOR: what is parsed, as the plain value it was parsed from.

use super::{Opening, OwnerKey};
use crate::access::{Globs, Permissions};
use crate::audit::{PeerAddress, RequestId};
use crate::keys::TokenHash;
use crate::model::{
    ContentHash, Description, EgressHosts, Environment, ExecutionFault, FunctionCode, FunctionName,
    HeaderName, HostName, Id, IdKind, IdSequence, JsonText, Label, LogLine, Logs, Memory, Quotas,
    ReceiptSignature, Revision, SecretName, SecretNames, SecretRead, SecretReads, SecretValue,
    Tags, Timeout, Timestamp, UseOnly, Version,
};
use crate::secret::{KeyBytes, SecretBytes};
use crate::store::names::NameList;
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use std::net::IpAddr;

/// How a value of a parsed type stands in CBOR: as the plain value it was parsed from.
macro_rules! cbor_as {
    ($($type:ty: |$own:ident| $method:ident($out:expr), |$decoder:ident| $in:expr;)*) => {$(
        impl<C> Encode<C> for $type {
            fn encode<W: Write>(
                &self,
                encoder: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                let $own = self;
                encoder.$method($out)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $type {
            fn decode($decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                $in
            }
        }
    )*};
}
pub(super) use cbor_as;

pub(super) fn refused<E>(_: E) -> DecodeError {
    DecodeError::message("a value that its parser refuses")
}

fn array<const N: usize>(decoder: &mut Decoder<'_>) -> Result<[u8; N], DecodeError> {
    decoder.bytes()?.try_into().map_err(refused)
}

fn text<T>(
    decoder: &mut Decoder<'_>,
    parse: impl FnOnce(String) -> Result<T, crate::model::Issue>,
) -> Result<T, DecodeError> {
    parse(decoder.str()?.to_owned()).map_err(refused)
}

cbor_as! {
    KeyBytes: |own| bytes(own.expose()), |decoder| {
        KeyBytes::copied(decoder.bytes()?).ok_or_else(|| refused(()))
    };
    SecretValue: |own| bytes(own.expose()), |decoder| {
        SecretValue::from_bytes(SecretBytes::new(decoder.bytes()?.to_vec())).map_err(refused)
    };
    OwnerKey: |own| bytes(&own.0.0), |decoder| array(decoder).map(|key| Self(PublicKey(key)));
    TokenHash: |own| bytes(&own.0), |decoder| array(decoder).map(Self);
    IdSequence: |own| bytes(&own.0), |decoder| array(decoder).map(Self);
    SecretName: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    Description: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    HostName: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    HeaderName: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    UseOnly: |own| encode(UseOnlyBody::from(own)), |decoder| {
        let UseOnlyBody { hosts, header } = decoder.decode()?;
        Self::new(hosts, header).map_err(refused)
    };
    Label: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    RequestId: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    Version: |own| u64(own.0), |decoder| decoder.u64().map(Self);
    Revision: |own| u64(own.0), |decoder| decoder.u64().map(Self);
    Permissions: |own| u8(own.to_bits()), |decoder| {
        Self::from_bits(decoder.u8()?).ok_or_else(|| refused(()))
    };
    Timestamp: |own| u64(own.unix_millis()), |decoder| {
        let ms = decoder.u64()?;
        Some(Self::from_unix_millis(ms)).filter(|time| time.unix_millis() == ms).ok_or_else(|| refused(()))
    };
    Tags: |own| encode(own.pairs()), |decoder| Self::parse(decoder.decode()?).map_err(refused);
    Globs: |own| encode(own.iter().map(|glob| glob.as_str()).collect::<Vec<_>>()), |decoder| {
        Self::parse(decoder.decode()?).map_err(refused)
    };
    FunctionName: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    FunctionCode: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    JsonText: |own| str(own.as_str()), |decoder| text(decoder, Self::parse);
    ContentHash: |own| bytes(own.as_bytes()), |decoder| array(decoder).map(Self);
    Opening: |own| bytes(&own.0), |decoder| array(decoder).map(Self);
    ReceiptSignature: |own| bytes(&own.0.0), |decoder| {
        array(decoder).map(|bytes| Self(Signature(bytes)))
    };
    Timeout: |own| u32(own.get()), |decoder| Self::parse(decoder.u64()?).map_err(refused);
    Memory: |own| u32(own.get()), |decoder| Self::parse(decoder.u64()?).map_err(refused);
    Environment: |own| encode(own.pairs()), |decoder| {
        Self::parse(decoder.decode()?).map_err(refused)
    };
    SecretNames: |own| encode(own.iter().map(SecretName::as_str).collect::<Vec<_>>()), |decoder| {
        Self::parse(decoder.decode()?).map_err(refused)
    };
    EgressHosts: |own| encode(own.iter().map(HostName::as_str).collect::<Vec<_>>()), |decoder| {
        Self::parse(decoder.decode()?).map_err(refused)
    };
    SecretReads: |own| encode(own.as_slice()), |decoder| {
        Self::in_order(decoder.decode::<Vec<SecretRead>>()?).map_err(refused)
    };
    // What would be cut was never written.
    Logs: |own| encode(own.lines()), |decoder| {
        let lines: Vec<LogLine> = decoder.decode()?;
        let count = lines.len();
        let logs = Self::kept(lines);
        Some(logs).filter(|logs| logs.lines().len() == count).ok_or_else(|| refused(()))
    };
    ExecutionFault: |own| encode([own.name(), own.message(), own.stack()]), |decoder| {
        let [name, message, stack]: [String; 3] = decoder.decode()?;
        let bytes = name.len() + message.len() + stack.len();
        let fault = Self::new(name, message, stack);
        let kept = fault.name().len() + fault.message().len() + fault.stack().len();
        Some(fault).filter(|_| kept == bytes).ok_or_else(|| refused(()))
    };
    NameList: |own| bytes(own.as_bytes()), |decoder| {
        Self::parse(decoder.bytes()?).ok_or_else(|| refused(()))
    };
    Quotas: |own| encode(QuotasBody::from(*own)), |decoder| {
        decoder.decode::<QuotasBody>().map(Self::from)
    };
}

/// 4 bytes or 16.
impl<C> Encode<C> for PeerAddress {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match self.address() {
            IpAddr::V4(address) => encoder.bytes(&address.octets())?.ok(),
            IpAddr::V6(address) => encoder.bytes(&address.octets())?.ok(),
        }
    }
}

impl<'b, C> Decode<'b, C> for PeerAddress {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let bytes = decoder.bytes()?;
        let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        let address = four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
        address.map(Self::new).map_err(refused)
    }
}

impl<C, K: IdKind> Encode<C> for Id<K> {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        encoder.bytes(self.as_bytes())?.ok()
    }
}

impl<'b, C, K: IdKind> Decode<'b, C> for Id<K> {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        array(decoder).map(Self::from_bytes)
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct UseOnlyBody {
    #[n(0)]
    hosts: Vec<HostName>,
    #[n(1)]
    header: HeaderName,
}

impl From<&UseOnly> for UseOnlyBody {
    fn from(of: &UseOnly) -> Self {
        Self { hosts: of.hosts().to_vec(), header: of.header().clone() }
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct QuotasBody {
    #[n(0)]
    secrets: Option<u64>,
    #[n(1)]
    value_bytes: Option<u64>,
    #[n(2)]
    api_keys: Option<u64>,
    #[n(3)]
    audit_events: Option<u64>,
    #[n(4)]
    functions: Option<u64>,
}

impl From<Quotas> for QuotasBody {
    fn from(quotas: Quotas) -> Self {
        let Quotas { secrets, value_bytes, api_keys, audit_events, functions } = quotas;
        Self { secrets, value_bytes, api_keys, audit_events, functions }
    }
}

impl From<QuotasBody> for Quotas {
    fn from(body: QuotasBody) -> Self {
        let QuotasBody { secrets, value_bytes, api_keys, audit_events, functions } = body;
        Self { secrets, value_bytes, api_keys, audit_events, functions }
    }
}
