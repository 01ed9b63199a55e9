//! The frame format: how a message becomes bytes on the wire.
//!
//! A message is one or more frames; a frame is a header of [`HEADER_BYTES`] followed by its
//! payload. All frames but the last carry [`MAX_PAYLOAD_BYTES`]; an empty message is one frame
//! without payload. So the number of bytes on the wire is a function of the message's length
//! ([`wire_bytes`]), and a cost model can predict it exactly.
//!
//! ```text
//! byte 0..4   payload length in bytes, plus 2^28 times the number of the lane, u32 little-endian
//! byte 4..8   flight stamp, u32 little-endian
//! byte 8..    payload
//! ```

/// Size of a frame's header in bytes.
pub const HEADER_BYTES: usize = 8;

/// Largest payload of one frame in bytes; a longer message is split.
pub const MAX_PAYLOAD_BYTES: usize = 16 << 20;

/// Most lanes of a connection: their numbers take the upper bits of the length, but for the last.
pub const MAX_LANES: u8 = HEARTBEAT_LANE;

/// The number by which a frame is a heartbeat: it has no payload, belongs to no lane, and says only that its
/// sender is there.
pub(crate) const HEARTBEAT_LANE: u8 = (1 << (u32::BITS - LENGTH_BITS)) - 1;

/// Bits of the payload length.
const LENGTH_BITS: u32 = 28;

/// Bytes on the wire, headers included, for one message of `payload_bytes`.
#[must_use]
pub const fn wire_bytes(payload_bytes: u64) -> u64 {
    let frames = payload_bytes.div_ceil(MAX_PAYLOAD_BYTES as u64);
    payload_bytes + HEADER_BYTES as u64 * if frames == 0 { 1 } else { frames }
}

/// Payload lengths in bytes of the frames of a message of `payload_bytes`, in order.
pub(crate) fn payload_lengths(payload_bytes: usize) -> impl Iterator<Item = usize> {
    let frames = payload_bytes.div_ceil(MAX_PAYLOAD_BYTES).max(1);
    (0..frames).map(move |i| (payload_bytes - i * MAX_PAYLOAD_BYTES).min(MAX_PAYLOAD_BYTES))
}

/// A decoded header; nothing in it has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Number of the lane.
    pub(crate) lane: u8,
    /// Payload length in bytes.
    pub(crate) payload_bytes: u32,
    /// Flight stamp.
    pub(crate) stamp: u32,
}

impl FrameHeader {
    pub(crate) fn decode(bytes: [u8; HEADER_BYTES]) -> Self {
        let [l0, l1, l2, l3, s0, s1, s2, s3] = bytes;
        Self {
            lane: l3 >> (LENGTH_BITS - 24),
            payload_bytes: u32::from_le_bytes([l0, l1, l2, l3]) & ((1 << LENGTH_BITS) - 1),
            stamp: u32::from_le_bytes([s0, s1, s2, s3]),
        }
    }
}

/// One frame as bytes; `payload` holds at most [`MAX_PAYLOAD_BYTES`], and `lane` has 4 bits.
pub(crate) fn encode(lane: u8, payload: &[u8], stamp: u32) -> Vec<u8> {
    debug_assert!(payload.len() <= MAX_PAYLOAD_BYTES && lane <= HEARTBEAT_LANE);
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    frame.extend_from_slice(&payload.len().to_le_bytes()[..3]);
    frame.push(payload.len().to_le_bytes()[3] | lane << (LENGTH_BITS - 24));
    frame.extend_from_slice(&stamp.to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A frame that belongs to no lane.
pub(crate) fn heartbeat() -> Vec<u8> {
    encode(HEARTBEAT_LANE, &[], 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_bytes_count_a_header_per_frame() {
        let max = MAX_PAYLOAD_BYTES as u64;
        for (payload, frames) in
            [(0, 1), (1, 1), (max - 1, 1), (max, 1), (max + 1, 2), (3 * max, 3)]
        {
            assert_eq!(wire_bytes(payload), payload + 8 * frames, "{payload} bytes");
            let lengths: Vec<usize> = payload_lengths(usize::try_from(payload).unwrap()).collect();
            assert_eq!(lengths.len() as u64, frames, "{payload} bytes");
            assert_eq!(lengths.iter().sum::<usize>() as u64, payload);
        }
    }

    #[test]
    fn header_layout_is_fixed() {
        for (lane, payload_bytes, length) in [
            (0, 0x0102, [0x02, 0x01, 0, 0]),
            (5, 0x0102, [0x02, 0x01, 0, 0x50]),
            (HEARTBEAT_LANE, 1 << 24, [0, 0, 0, 0xF1]),
        ] {
            let frame = encode(lane, &vec![7; payload_bytes], 0x0A0B_0C0D);
            assert_eq!(frame[..HEADER_BYTES], [length, [0x0D, 0x0C, 0x0B, 0x0A]].concat());
            let header = FrameHeader::decode(frame[..HEADER_BYTES].try_into().unwrap());
            let payload_bytes = u32::try_from(payload_bytes).unwrap();
            assert_eq!(header, FrameHeader { lane, payload_bytes, stamp: 0x0A0B_0C0D });
            assert_eq!(frame.len() as u64, wire_bytes(payload_bytes.into()));
        }
    }
}
