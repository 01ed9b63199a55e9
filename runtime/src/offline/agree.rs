//! Which prepared inferences both parties hold.
//!
//! The client offers what it has, batch by batch; the server answers with the part that it has too. Entries of
//! a batch are used in the order of their indices, so both go on at the larger of the two first ones, and
//! what one of them holds below that is of no use any more. At last the client says how many it takes.

use super::store::{BatchId, Shelf, Stored};
use crate::error::RunError;
use heq_ir::plan::{MAX_OFFERS, OFFER_ANSWER_BYTES, OFFER_BYTES};
use heq_net::Channel;
use std::collections::BTreeSet;
use std::ops::Range;

const OFFER: u32 = 0;
const TAKE: u32 = 1;

/// The client's message.
struct Offer {
    kind: u32,
    batch: BatchId,
    range: Range<u64>,
}

impl Offer {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(OFFER_BYTES);
        bytes.extend_from_slice(&self.kind.to_le_bytes());
        bytes.extend_from_slice(&self.batch.0);
        bytes.extend_from_slice(&encode_range(&self.range));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first_chunk()?;
        let (batch, range) = rest.split_first_chunk()?;
        let kind = u32::from_le_bytes(*kind);
        Some(Self { kind, batch: BatchId(*batch), range: decode_range(range)? })
    }
}

fn encode_range(range: &Range<u64>) -> Vec<u8> {
    [range.start.to_le_bytes(), range.end.to_le_bytes()].concat()
}

fn decode_range(bytes: &[u8]) -> Option<Range<u64>> {
    let (start, end) = bytes.split_first_chunk()?;
    Some(u64::from_le_bytes(*start)..u64::from_le_bytes(end.try_into().ok()?))
}

fn misbehaved(what: &str) -> RunError {
    let step = "prepared inferences".to_owned();
    RunError::PeerMisbehaved { step, what: what.to_owned() }
}

/// The client's side: the entries that serve the next inferences, at most `wanted`, and how many offers that
/// took.
///
/// **Security**: the server learns how many inferences the client prepared and runs now.
///
/// # Errors
/// [`RunError`] if the store cannot be read, or the peer goes away or breaks the protocol.
pub(crate) fn client(
    channel: &mut Channel,
    shelf: &Shelf<'_>,
    wanted: usize,
) -> Result<(Vec<Stored>, u32), RunError> {
    let mut batches = shelf.batches()?;
    batches.truncate(MAX_OFFERS as usize);
    // One round trip for all.
    for (batch, range) in &batches {
        let offer = Offer { kind: OFFER, batch: *batch, range: range.clone() };
        channel.send(&offer.encode())?;
    }
    let offers = u32::try_from(batches.len()).unwrap_or(u32::MAX);
    let mut agreed = Vec::new();
    for (batch, own) in batches {
        let answer = channel.recv(OFFER_ANSWER_BYTES)?;
        let common = decode_range(&answer).ok_or(misbehaved("an answer is malformed"))?;
        if !common.is_empty() && (common.start < own.start || common.end > own.end) {
            return Err(misbehaved("the server takes what was not offered"));
        }
        shelf.discard(batch, own.start..common.start.min(own.end))?;
        agreed.extend(common.map(|index| Stored { batch, index }));
    }
    agreed.truncate(wanted);
    let range = 0..agreed.len() as u64;
    channel.send(&Offer { kind: TAKE, batch: BatchId([0; 32]), range }.encode())?;
    Ok((agreed, offers))
}

/// The server's side: the entries that serve the next inferences, at most as many as were `announced`, and how many offers there were. Without a
/// store there are no entries.
///
/// **Security**: the client learns which of its inferences the server still holds.
///
/// # Errors
/// [`RunError`] if the store cannot be read, or the peer goes away or breaks the protocol.
pub(crate) fn server(
    channel: &mut Channel,
    shelf: Option<&Shelf<'_>>,
    announced: u32,
) -> Result<(Vec<Stored>, u32), RunError> {
    let batches = shelf.map_or(Ok(Vec::new()), Shelf::batches)?;
    let mut agreed: Vec<Stored> = Vec::new();
    let mut seen = BTreeSet::new();
    for offers in 0..=MAX_OFFERS {
        let message = channel.recv(OFFER_BYTES)?;
        let Offer { kind, batch, range } =
            Offer::decode(&message).ok_or(misbehaved("an offer is malformed"))?;
        match kind {
            OFFER => {
                if !seen.insert(batch) {
                    return Err(misbehaved("a batch is offered twice"));
                }
                let own = batches.iter().find(|(own, _)| *own == batch);
                let mut common = 0..0;
                if let (Some(shelf), Some((_, own))) = (shelf, own) {
                    shelf.discard(batch, own.start..range.start.min(own.end))?;
                    let start = own.start.max(range.start);
                    common = start..own.end.min(range.end).max(start);
                }
                channel.send(&encode_range(&common))?;
                agreed.extend(common.map(|index| Stored { batch, index }));
            }
            TAKE => {
                let most = agreed.len().min(announced as usize);
                let taken = usize::try_from(range.end).ok().filter(|&end| end <= most);
                agreed.truncate(taken.ok_or(misbehaved("more is taken than was agreed"))?);
                return Ok((agreed, offers));
            }
            _ => return Err(misbehaved("an offer is of no known kind")),
        }
    }
    Err(misbehaved("there are too many offers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_have_one_form() {
        let offer = Offer { kind: TAKE, batch: BatchId([7; 32]), range: 3..u64::MAX };
        let bytes = offer.encode();
        assert_eq!(bytes.len(), OFFER_BYTES);
        let back = Offer::decode(&bytes).unwrap();
        assert_eq!((back.kind, back.batch, back.range), (TAKE, offer.batch, offer.range));
        assert_eq!(encode_range(&(1..2)).len(), OFFER_ANSWER_BYTES);
        assert!(Offer::decode(&bytes[1..]).is_none() && decode_range(&bytes).is_none());
    }
}
