//! Base oblivious transfer over the Ristretto group.
//!
//! A few hundred public-key OTs, from which the extension makes all others. The sender ends with
//! two random keys for each index, the receiver with the one of its choice: flow
//! [`Sender::new`] -> [`SenderSetup`] -> [`choose`] -> [`ReceiverChoices`] -> [`Sender::finish`].
//! Invariants: no identity element is ever used; a key depends on the session, the tag, the index
//! and both points of its transcript; no branch or index depends on a choice or a scalar.
//!
//! Notation: group of prime order in additive notation, generator `G`, `A = a*G`.
//!
//! Source: [CO15, Figure 1], the key exchange part alone (random OT).

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{Identity, IsIdentity};
use heq_mutation::broken;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable};
use zeroize::Zeroizing;

use crate::SessionId;
use crate::bits::ChoiceBits;
use crate::block::Block;
use crate::error::{OtError, check_length};

/// Length of an encoded group element, in bytes.
const POINT_BYTES: usize = 32;

/// Length of an encoded [`SenderSetup`], in bytes.
pub const SENDER_SETUP_BYTES: usize = POINT_BYTES;

/// Length of the encoded [`ReceiverChoices`] of `n` OTs, in bytes.
#[must_use]
pub const fn receiver_choices_bytes(n: usize) -> usize {
    n.saturating_mul(POINT_BYTES)
}

/// Domain of the SHA-256 call that derives the keys.
const KEY_DOMAIN: &[u8] = b"heq-ot/base-key/1";

/// A group element other than the identity, with its canonical encoding.
#[derive(Clone)]
struct Element {
    point: RistrettoPoint,
    encoding: CompressedRistretto,
}

impl Element {
    fn new(point: RistrettoPoint) -> Self {
        Self { point, encoding: point.compress() }
    }

    fn decode(bytes: &[u8], index: usize) -> Result<Self, OtError> {
        let invalid = OtError::InvalidPoint { index };
        let Ok(encoding) = CompressedRistretto::from_slice(bytes) else { return Err(invalid) };
        match encoding.decompress() {
            Some(point)
                if !point.is_identity()
                    || broken!(
                        "the identity is taken for a point",
                        "heq-ot lib bad_points_are_refused"
                    ) =>
            {
                Ok(Self { point, encoding })
            }
            _ => Err(invalid),
        }
    }
}

/// First message, sender to receiver: the point `A`.
#[derive(Clone)]
pub struct SenderSetup {
    a: Element,
}

impl SenderSetup {
    /// The wire form, [`SENDER_SETUP_BYTES`] long.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        self.a.encoding.as_bytes().to_vec()
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`OtError::MessageLength`] if `bytes` has not [`SENDER_SETUP_BYTES`];
    /// [`OtError::InvalidPoint`] if it is not the canonical encoding of an element other than the
    /// identity.
    pub fn decode(bytes: &[u8]) -> Result<Self, OtError> {
        check_length("SenderSetup", SENDER_SETUP_BYTES, bytes.len())?;
        Ok(Self { a: Element::decode(bytes, 0)? })
    }
}

/// Second message, receiver to sender: one point `B_i` for each OT.
#[derive(Clone)]
pub struct ReceiverChoices {
    b: Vec<Element>,
}

impl ReceiverChoices {
    /// The wire form, [`receiver_choices_bytes`] long.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        self.b.iter().flat_map(|b| b.encoding.to_bytes()).collect()
    }

    /// Reads the wire form for `n` OTs.
    ///
    /// # Errors
    /// [`OtError::MessageLength`] if `bytes` has not [`receiver_choices_bytes`]`(n)`;
    /// [`OtError::InvalidPoint`] at the first index whose point is not the canonical encoding of an
    /// element other than the identity.
    pub fn decode(bytes: &[u8], n: usize) -> Result<Self, OtError> {
        check_length("ReceiverChoices", receiver_choices_bytes(n), bytes.len())?;
        let points = bytes.chunks_exact(POINT_BYTES).enumerate();
        let b = points.map(|(i, point)| Element::decode(point, i)).collect::<Result<_, _>>()?;
        Ok(Self { b })
    }
}

/// The base OT sender between its two messages.
pub struct Sender {
    context: KeyContext,
    /// `a`.
    secret: Zeroizing<Scalar>,
    a: Element,
}

impl Sender {
    /// Draws `a` and makes the message `A = a*G`.
    ///
    /// `tag` tells apart the instances of one session, as the two directions; both parties give the
    /// same.
    pub fn new<R: CryptoRng + ?Sized>(
        session: &SessionId,
        tag: u8,
        rng: &mut R,
    ) -> (Self, SenderSetup) {
        let secret = random_scalar(rng);
        let a = Element::new(RistrettoPoint::mul_base(&secret));
        let setup = SenderSetup { a: a.clone() };
        (Self { context: KeyContext::new(session, tag, &a), secret, a }, setup)
    }

    /// The two keys of each OT: `H(a*B_i)` and `H(a*(B_i - A))`.
    ///
    /// **Security**: the receiver knows one key of each pair; the sender does not learn which.
    #[must_use]
    pub fn finish(self, choices: &ReceiverChoices) -> Zeroizing<Vec<[Block; 2]>> {
        let shift = Zeroizing::new(self.a.point * *self.secret);
        let mut keys = Zeroizing::new(Vec::with_capacity(choices.b.len()));
        for (i, b) in choices.b.iter().enumerate() {
            let shared = Zeroizing::new(b.point * *self.secret);
            let shifted = Zeroizing::new(*shared - *shift);
            keys.push([
                self.context.key(i, &b.encoding, &shared),
                self.context.key(i, &b.encoding, &shifted),
            ]);
        }
        keys
    }
}

/// The receiver's step: key `i` of the sender's pairs for choice `c_i`, and the message
/// `B_i = c_i*A + b_i*G`.
///
/// **Security**: the message is independent of the choices. The points are selected in constant
/// time.
pub fn choose<R: CryptoRng + ?Sized>(
    session: &SessionId,
    tag: u8,
    setup: &SenderSetup,
    choices: &ChoiceBits,
    rng: &mut R,
) -> (Zeroizing<Vec<Block>>, ReceiverChoices) {
    let context = KeyContext::new(session, tag, &setup.a);
    let mut keys = Zeroizing::new(Vec::with_capacity(choices.len()));
    let mut points = Vec::with_capacity(choices.len());
    for (i, choice) in choices.iter().enumerate() {
        let choice = Choice::from(u8::from(choice));
        let mut secret = random_scalar(rng);
        if broken!(
            "points of base OTs are not blinded",
            "heq-ot lib points_of_equal_choices_differ"
        ) {
            *secret = Scalar::ONE;
        }
        let offset = Zeroizing::new(RistrettoPoint::conditional_select(
            &RistrettoPoint::identity(),
            &setup.a.point,
            choice,
        ));
        let b = Element::new(*offset + RistrettoPoint::mul_base(&secret));
        let shared = Zeroizing::new(setup.a.point * *secret);
        keys.push(context.key(i, &b.encoding, &shared));
        points.push(b);
    }
    (keys, ReceiverChoices { b: points })
}

/// A uniform scalar, from 64 bytes so that the reduction leaves no measurable bias.
fn random_scalar<R: CryptoRng + ?Sized>(rng: &mut R) -> Zeroizing<Scalar> {
    let mut wide = Zeroizing::new([0; 64]);
    rng.fill_bytes(&mut *wide);
    Zeroizing::new(Scalar::from_bytes_mod_order_wide(&wide))
}

/// The hash of what all keys of one instance share: domain, session, tag and `A`.
struct KeyContext {
    prefix: Sha256,
}

impl KeyContext {
    fn new(session: &SessionId, tag: u8, a: &Element) -> Self {
        let any_session = broken!(
            "keys of base OTs do not depend on the session",
            "heq-ot lib keys_depend_on_session_tag_index_and_points"
        );
        let any_tag = broken!(
            "keys of base OTs do not depend on the tag",
            "heq-ot lib keys_depend_on_session_tag_index_and_points"
        );
        let any_sender = broken!(
            "keys of base OTs do not depend on the sender's point",
            "heq-ot lib keys_depend_on_session_tag_index_and_points"
        );
        let session = if any_session { &[0; 32] } else { &session.0 };
        let tag = if any_tag { 0 } else { tag };
        let a = if any_sender { &[0; POINT_BYTES] } else { a.encoding.as_bytes() };
        let prefix = Sha256::new()
            .chain_update(KEY_DOMAIN)
            .chain_update(session)
            .chain_update([tag])
            .chain_update(a);
        Self { prefix }
    }

    /// The key of OT `index`: the first 128 bits of `SHA-256(prefix, index, B, shared)`.
    fn key(&self, index: usize, b: &CompressedRistretto, shared: &RistrettoPoint) -> Block {
        let any_index = broken!(
            "keys of base OTs do not depend on the index",
            "heq-ot lib keys_depend_on_session_tag_index_and_points"
        );
        let any_point = broken!(
            "keys of base OTs do not depend on the receiver's point",
            "heq-ot lib keys_depend_on_session_tag_index_and_points"
        );
        let index = if any_index { 0 } else { index as u64 };
        let b = if any_point { &[0; POINT_BYTES] } else { b.as_bytes() };
        let shared = Zeroizing::new(shared.compress().to_bytes());
        let digest = Zeroizing::new(<[u8; 32]>::from(
            self.prefix
                .clone()
                .chain_update(index.to_le_bytes())
                .chain_update(b)
                .chain_update(*shared)
                .finalize(),
        ));
        let mut key = Zeroizing::new([0; Block::BYTES]);
        key.copy_from_slice(&digest[..Block::BYTES]);
        Block::from_bytes(*key)
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const SESSION: SessionId = SessionId([7; 32]);

    /// Runs both parties, the receiver under `(session, tag)`, through the wire forms.
    fn run(n: usize, session: &SessionId, tag: u8) -> (Vec<[Block; 2]>, Vec<Block>, ChoiceBits) {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let (sender, setup) = Sender::new(&SESSION, 0, &mut rng);
        let setup = SenderSetup::decode(&setup.encode()).unwrap();
        let choices = ChoiceBits::random(n, &mut rng);
        let (keys, message) = choose(session, tag, &setup, &choices, &mut rng);
        let message = message.encode();
        assert_eq!(message.len(), receiver_choices_bytes(n));
        let pairs = sender.finish(&ReceiverChoices::decode(&message, n).unwrap());
        (pairs.to_vec(), keys.to_vec(), choices)
    }

    #[test]
    fn receiver_holds_the_chosen_key_and_not_the_other() {
        for n in [0, 1, 20] {
            let (pairs, keys, choices) = run(n, &SESSION, 0);
            assert_eq!((pairs.len(), keys.len()), (n, n));
            for ((pair, key), choice) in pairs.iter().zip(&keys).zip(choices.iter()) {
                assert_eq!(pair[usize::from(choice)], *key);
                assert_ne!(pair[usize::from(!choice)], *key);
            }
        }
    }

    #[test]
    fn keys_depend_on_session_tag_index_and_points() {
        for (session, tag) in [(SessionId([8; 32]), 0), (SESSION, 1)] {
            let (pairs, keys, _) = run(3, &session, tag);
            assert!(pairs.iter().zip(&keys).all(|(pair, key)| !pair.contains(key)));
        }
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let (sender, _) = Sender::new(&SESSION, 0, &mut rng);
        let b = Element::new(RistrettoPoint::mul_base(&Scalar::from(5_u8)));
        let pairs = sender.finish(&ReceiverChoices { b: vec![b.clone(), b] });
        assert_ne!(pairs[0], pairs[1]);
        let [a, b, other] =
            [2_u8, 5, 7].map(|n| Element::new(RistrettoPoint::mul_base(&Scalar::from(n))));
        let key = |a: &Element, b: &Element| {
            KeyContext::new(&SESSION, 0, a).key(0, &b.encoding, &other.point)
        };
        assert_ne!(key(&a, &b), key(&other, &b));
        assert_ne!(key(&a, &b), key(&a, &other));
    }

    #[test]
    fn points_of_equal_choices_differ() {
        let mut rng = ChaCha20Rng::seed_from_u64(4);
        let (_, setup) = Sender::new(&SESSION, 0, &mut rng);
        let choices = ChoiceBits::from_words(vec![0b1100], 4);
        let (_, message) = choose(&SESSION, 0, &setup, &choices, &mut rng);
        let mut points: Vec<_> = message.b.iter().map(|b| b.encoding.to_bytes()).collect();
        points.sort_unstable();
        points.dedup();
        assert_eq!(points.len(), 4);
    }

    #[test]
    fn bad_points_are_refused() {
        let good = RistrettoPoint::mul_base(&Scalar::from(9_u8)).compress().to_bytes();
        let identity = [0; 32];
        let non_canonical = [0xff; 32];
        let negative = {
            let mut bytes = [0; 32];
            bytes[0] = 1;
            bytes
        };
        for bad in [identity, non_canonical, negative] {
            assert_eq!(
                SenderSetup::decode(&bad).err(),
                Some(OtError::InvalidPoint { index: 0 }),
                "{bad:?}"
            );
            let message = [good, good, bad, bad].concat();
            assert_eq!(
                ReceiverChoices::decode(&message, 4).err(),
                Some(OtError::InvalidPoint { index: 2 })
            );
        }
        assert!(SenderSetup::decode(&good).is_ok());
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for len in [0, 31, 33, 64] {
            assert_eq!(
                SenderSetup::decode(&vec![0; len]).err(),
                Some(OtError::MessageLength { message: "SenderSetup", expected: 32, found: len })
            );
        }
        for len in [0, 1, 95, 97, 128] {
            assert_eq!(
                ReceiverChoices::decode(&vec![0; len], 3).err(),
                Some(OtError::MessageLength {
                    message: "ReceiverChoices",
                    expected: 96,
                    found: len
                })
            );
        }
        assert!(ReceiverChoices::decode(&[], usize::MAX).is_err());
    }
}
