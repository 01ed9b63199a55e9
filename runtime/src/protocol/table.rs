//! Looks shared bits up in the server's secret tables; the result is shared bits.
//!
//! The client's share of the index is the choice of a 1-of-2^k OT whose message j is
//! `table[j ^ own share] ^ mask` at the server. The mask is the server's share of the result; it
//! makes message 0 equal to its key, so that it need not be sent. See docs/protocols/table.md.

use super::Link;
use super::one_of_many::{MAX_STREAM_BYTES, ReceiverKeys, SenderKeys, Slices, equal_mask};
use crate::error::RunError;
use crate::share::{Plane, mask};
use heq_ir::packing::{pack_bits, unpack_bits};
use heq_ir::protocol::packed_bytes;
use heq_ir::protocol::table::TableWidths;
use zeroize::Zeroizing;

/// Elements whose messages are packed together; they end on a byte whatever the widths.
const GROUP: usize = 8;

/// The client's side: `input`, its shares of the indices' planes, lowest bit first, becomes its
/// shares of the entries' planes.
///
/// **Security**: the client learns nothing of indices, tables or entries.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed message, or `widths` do not fit `input`.
pub fn client(
    link: &mut Link<'_>,
    widths: &TableWidths,
    input: &[Plane],
    elements: usize,
) -> Result<Vec<Plane>, RunError> {
    let slices = slices(widths, input)?;
    let mut keys = ReceiverKeys::send(link, slices, input, elements)?;
    let bytes = usize::try_from(packed_bytes(elements, widths.message_bits()));
    let received = link.channel.recv(bytes.unwrap_or(usize::MAX))?;
    let mut shares = Zeroizing::new(Vec::with_capacity(elements));
    let group_bytes = widths.message_bits() as usize * GROUP / 8;
    let messages_each = widths.entries() - 1;
    for part in received.chunks(group_bytes) {
        let group = GROUP.min(elements - shares.len());
        let messages = unpack_bits(part, widths.result_bits, group * messages_each)?;
        for messages in messages.chunks_exact(messages_each) {
            let index = shares.len();
            let choice = (0..).zip(input).fold(0, |c, (bit, plane)| c | plane.bit(index) << bit);
            let keys = keys.keys(index);
            let mut share = 0;
            for (j, (key, message)) in (0..).zip(keys.iter().zip([&0].into_iter().chain(messages)))
            {
                share |= (u64::from(*key) ^ message) & equal_mask(j, choice);
            }
            shares.push(share);
        }
    }
    Ok(planes(&shares, widths))
}

/// The server's side, with its shares `input` of the indices' planes; returns its shares of the
/// entries' planes.
///
/// `tables` holds T tables of `2^k` entries each, one after the other; T divides `elements`, and
/// element i uses table `i / (elements / T)`: one table for all, or one for each channel of a
/// `[C, H, W]` tensor. Bits of an entry above the result's width are ignored.
///
/// **Security**: the server learns nothing. No address depends on a share.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed message, or `widths`, `input` and `tables`
/// do not fit.
pub fn server(
    link: &mut Link<'_>,
    widths: &TableWidths,
    input: &[Plane],
    elements: usize,
    tables: &[u8],
) -> Result<Vec<Plane>, RunError> {
    let slices = slices(widths, input)?;
    let entries = widths.entries();
    let count = tables.len() / entries;
    if count == 0 || !tables.len().is_multiple_of(entries) || !elements.is_multiple_of(count) {
        return Err(RunError::Internal { what: "tables do not fit the elements" });
    }
    let table_elements = elements / count;
    let mut keys = SenderKeys::receive(link, slices, elements)?;
    let mut shares = Zeroizing::new(Vec::with_capacity(elements));
    let mut message = Vec::new();
    let mut table = Zeroizing::new([0; MAX_STREAM_BYTES]);
    for first in (0..elements).step_by(GROUP) {
        let mut messages = Vec::with_capacity(GROUP * entries);
        for index in first..elements.min(first + GROUP) {
            let table = &mut table[..entries];
            table.copy_from_slice(&tables[index / table_elements * entries..][..entries]);
            for (bit, plane) in input.iter().enumerate() {
                exchange_entries(table, bit, plane.bit(index));
            }
            let keys = keys.keys(index);
            let share = u64::from(table[0] ^ keys[0]) & mask(widths.result_bits);
            for (entry, key) in table.iter().zip(keys.iter()).skip(1) {
                messages.push((u64::from(entry ^ key) ^ share) & mask(widths.result_bits));
            }
            shares.push(share);
        }
        message.extend(pack_bits(messages.iter().copied(), widths.result_bits));
    }
    link.channel.send(&message)?;
    Ok(planes(&shares, widths))
}

/// One slice of a byte for each entry.
fn slices(widths: &TableWidths, input: &[Plane]) -> Result<Slices, RunError> {
    if !widths.is_valid() || input.len() != widths.input_bits as usize {
        return Err(RunError::Internal { what: "a table look-up has other widths than its input" });
    }
    Ok(Slices { choice_bits: widths.input_bits, bytes: 1 })
}

/// Entry j becomes entry `j ^ (swap << bit)`, `swap` being 0 or 1.
fn exchange_entries(table: &mut [u8], bit: usize, swap: u64) {
    let swap = u8::from(swap == 1).wrapping_neg();
    for pair in table.chunks_exact_mut(2 << bit) {
        let (lower, upper) = pair.split_at_mut(1 << bit);
        for (a, b) in lower.iter_mut().zip(upper) {
            let difference = (*a ^ *b) & swap;
            *a ^= difference;
            *b ^= difference;
        }
    }
}

/// The planes of shares of entries.
fn planes(shares: &[u64], widths: &TableWidths) -> Vec<Plane> {
    (0..widths.result_bits)
        .map(|bit| Plane::from_bits(shares.len(), shares.iter().map(|share| share >> bit & 1)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanged_entries_are_those_at_the_index_and_share() {
        for share in 0..16_u8 {
            let mut table: Vec<u8> = (100..116).collect();
            (0..4).for_each(|bit| exchange_entries(&mut table, bit, u64::from(share >> bit & 1)));
            let expected: Vec<u8> = (0..16).map(|j| 100 + (j ^ share)).collect();
            assert_eq!(table, expected);
        }
    }
}
