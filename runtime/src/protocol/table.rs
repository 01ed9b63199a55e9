//! Looks shared bits up in the server's secret tables; the result is shared bits.
//!
//! The client's share of the index is the choice of a 1-of-2^k OT whose message j is
//! `table[j ^ own share] ^ mask` at the server. The mask is the server's share of the result; it
//! makes message 0 equal to its key, so that it need not be sent. Elements go in chunks, of which the
//! pads of one are held at a time. See docs/protocols/table.md.

use super::Link;
use super::one_of_many::{Extent, ReceiverKeys, SenderKeys};
use crate::error::RunError;
use crate::share::{Plane, read_planes};
use heq_ir::protocol::table::{self, TableWidths};

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
    check(widths, input)?;
    let mut chunks = Vec::new();
    for (start, extent) in chunk_extents(widths, elements) {
        let choices = input.iter().map(|plane| plane.part(start, extent.elements)).collect();
        let mut message = Vec::new();
        let keys = ReceiverKeys::new(link, extent, choices, &mut message)?;
        link.channel.send(&message)?;
        chunks.push((start, extent, keys));
    }
    let mut result = vec![Plane::zeros(elements); widths.result_bits as usize];
    for (start, extent, keys) in chunks {
        let due = extent.elements.div_ceil(8).saturating_mul(widths.message_bits() as usize);
        let received = link.channel.recv(due)?;
        let entries = keys.choose(1, &mut read_planes(&received, extent.elements))?;
        place(&mut result, start, &entries);
    }
    Ok(result)
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
    check(widths, input)?;
    let entries = widths.entries();
    let count = tables.len() / entries;
    if count == 0 || !tables.len().is_multiple_of(entries) || !elements.is_multiple_of(count) {
        return Err(RunError::Internal { what: "tables do not fit the elements" });
    }
    let tables: Vec<&[u8]> = tables.chunks_exact(entries).collect();
    let mut result = vec![Plane::zeros(elements); widths.result_bits as usize];
    for (start, extent) in chunk_extents(widths, elements) {
        let received = link.channel.recv(extent.elements.div_ceil(8) * input.len())?;
        let keys = SenderKeys::new(link, extent, &mut read_planes(&received, extent.elements))?;
        let mut messages = entry_planes(extent, &tables, start, elements / count);
        for (bit, share) in input.iter().enumerate() {
            exchange_entries(extent, &mut messages, bit, &share.part(start, extent.elements));
        }
        let mut message = Vec::new();
        place(&mut result, start, &keys.share(messages, &mut message));
        link.channel.send(&message)?;
    }
    Ok(result)
}

fn check(widths: &TableWidths, input: &[Plane]) -> Result<(), RunError> {
    if !widths.is_valid() || input.len() != widths.input_bits as usize {
        return Err(RunError::Internal { what: "a table look-up has other widths than its input" });
    }
    Ok(())
}

/// First element and extent of every chunk.
fn chunk_extents(
    widths: &TableWidths,
    elements: usize,
) -> impl Iterator<Item = (usize, Extent)> + use<> {
    let (choice_bits, message_bits) = (widths.input_bits, widths.result_bits);
    table::chunks(elements).map(move |chunk| {
        (chunk.start, Extent { choice_bits, message_bits, elements: chunk.len() })
    })
}

/// Sets the planes of the chunk that starts with element `start`.
fn place(result: &mut [Plane], start: usize, chunk: &[Plane]) {
    result.iter_mut().zip(chunk).for_each(|(plane, chunk)| plane.set_part(start, chunk));
}

/// The planes of every entry in order, over the elements from `start` on; each table serves
/// `table_elements` elements.
fn entry_planes(
    extent: Extent,
    tables: &[&[u8]],
    start: usize,
    table_elements: usize,
) -> Vec<Plane> {
    let (bits, elements) = (extent.message_bits as usize, extent.elements);
    let mut planes = vec![Plane::zeros(elements); bits << extent.choice_bits];
    let mut first = 0;
    while first < elements {
        let table = (start + first) / table_elements;
        let end = elements.min((table + 1) * table_elements - start);
        for (planes, entry) in planes.chunks_exact_mut(bits).zip(tables[table]) {
            for (bit, plane) in planes.iter_mut().enumerate() {
                plane.flip(first..end, u64::from(entry >> bit & 1));
            }
        }
        first = end;
    }
    planes
}

/// Where `swap` is set, entry j becomes entry `j ^ (1 << bit)`.
fn exchange_entries(extent: Extent, messages: &mut [Plane], bit: usize, swap: &Plane) {
    let half = (extent.message_bits as usize) << bit;
    for pair in messages.chunks_exact_mut(2 * half) {
        let (lower, upper) = pair.split_at_mut(half);
        lower.iter_mut().zip(upper).for_each(|(a, b)| a.exchange(b, swap));
    }
}
