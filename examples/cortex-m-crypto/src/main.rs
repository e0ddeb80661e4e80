//! Signed tokens: claims in CBOR under a deterministic ECDSA signature over P-256, checked, tampered with and checked
//! again; then two parties agree on a key.
#![no_main]
#![no_std]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use board::say;
use core::fmt::Debug;
use cortex_m_rt::{entry, exception};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use p256::SecretKey;
use p256::ecdh::diffie_hellman;
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};

#[derive(Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
struct Token<C> {
    #[n(1)]
    issuer: String,
    #[n(2)]
    claims: C,
    #[n(4)]
    expires: Option<u64>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
struct Reader {
    #[n(0)]
    doors: Vec<u16>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum Maintenance {
    #[n(0)]
    Service {
        #[n(0)]
        order: u32,
        #[n(1)]
        parts: Vec<String>,
    },
    #[n(1)]
    Inspection,
}

#[derive(Debug, Encode, Decode)]
struct Sealed {
    #[n(0)]
    payload: ByteVec,
    #[n(1)]
    signature: ByteVec,
}

#[derive(Debug)]
enum Refusal {
    Format,
    SignatureLength,
    Signature,
}

impl From<minicbor::decode::Error> for Refusal {
    fn from(_: minicbor::decode::Error) -> Self {
        Refusal::Format
    }
}

fn seal<C: Encode<()>>(key: &SigningKey, token: &Token<C>) -> Vec<u8> {
    let payload = minicbor::to_vec(token).unwrap_or_default();
    let signature: Signature = key.sign(&payload);
    let sealed = Sealed {
        payload: payload.into(),
        signature: signature.to_bytes().to_vec().into(),
    };
    minicbor::to_vec(&sealed).unwrap_or_default()
}

fn open<C: for<'a> Decode<'a, ()>>(key: &VerifyingKey, bytes: &[u8]) -> Result<Token<C>, Refusal> {
    let sealed: Sealed = minicbor::decode(bytes)?;
    let signature = Signature::from_slice(&sealed.signature).map_err(|_| Refusal::SignatureLength)?;
    key.verify(&sealed.payload, &signature)
        .map_err(|_| Refusal::Signature)?;
    Ok(minicbor::decode(&sealed.payload)?)
}

fn show<C: Encode<()> + for<'a> Decode<'a, ()> + Debug + PartialEq>(key: &SigningKey, token: &Token<C>) {
    let mut bytes = seal(key, token);
    say!("{} bytes {:08x}", bytes.len(), board::fingerprint(&bytes));
    match open::<C>(key.verifying_key(), &bytes) {
        Ok(back) => say!("  same {}: {back:?}", back == *token),
        Err(refusal) => say!("  {refusal:?}"),
    }
    for at in [0, 5, bytes.len() - 1] {
        bytes[at] ^= 1;
        match open::<C>(key.verifying_key(), &bytes) {
            Ok(back) => say!("  byte {at} changed and accepted: {back:?}"),
            Err(refusal) => say!("  byte {at} changed: {refusal:?}"),
        }
        bytes[at] ^= 1;
    }
}

#[exception]
fn SVCall() {
    say!("supervisor call");
}

#[entry]
fn main() -> ! {
    board::heap!(32 * 1024);
    let key = |seed: u8| SecretKey::from_slice(&[seed; 32]).expect("a number below the order");
    let signing = SigningKey::from(key(7));
    show(
        &signing,
        &Token {
            issuer: "gate".into(),
            claims: Reader {
                doors: [3, 400, 5].into(),
            },
            expires: None,
        },
    );
    let service = Maintenance::Service {
        order: 81_223,
        parts: ["fan".into(), "seal 4 mm".into()].into(),
    };
    show(
        &signing,
        &Token {
            issuer: "plant".into(),
            claims: service,
            expires: Some(1 << 40),
        },
    );
    show(
        &signing,
        &Token {
            issuer: String::new(),
            claims: Maintenance::Inspection,
            expires: Some(0),
        },
    );

    let (ours, theirs) = (key(11), key(13));
    let secret = diffie_hellman(ours.to_nonzero_scalar(), theirs.public_key().as_affine());
    let again = diffie_hellman(theirs.to_nonzero_scalar(), ours.public_key().as_affine());
    let same = secret.raw_secret_bytes() == again.raw_secret_bytes();
    say!("agreed {same} on {:08x}", board::fingerprint(secret.raw_secret_bytes()));
    // SAFETY: the handler returns as from any function.
    unsafe { core::arch::asm!("svc #0") };
    if cfg!(feature = "panic") {
        SecretKey::from_slice(&[0; 32]).expect("asked to panic");
    }
    if cfg!(feature = "fault") {
        board::fault();
    }
    board::exit(0)
}
