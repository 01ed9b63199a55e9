//! Traffic of opening values to the client; `docs/protocols/open.md`.

use super::{one_of_many_pad_bits, plane_bytes};
use crate::traffic::{RotRun, RotSender, Step, Traffic};

/// Most guard bits that an opening removes: 1-of-2^g messages an element.
pub const MAX_GUARD_BITS: u32 = 3;

/// Opening accumulators of `acc_bits` bits with `guard_bits` guard bits, at most
/// [`MAX_GUARD_BITS`].
///
/// Without guard bits the server sends its exact shares. With g of them: g choice bits an element
/// up, `2^g` messages of `acc_bits` bits down.
#[must_use]
pub fn traffic(elements: usize, acc_bits: u32, guard_bits: u32) -> Traffic {
    let guard_bits = guard_bits.min(MAX_GUARD_BITS);
    let messages =
        Step::Down { count: 1, bytes: (u64::from(acc_bits) * plane_bytes(elements)) << guard_bits };
    if guard_bits == 0 {
        return Traffic::new(vec![messages], Vec::new());
    }
    let bytes = u64::from(guard_bits) * plane_bytes(elements);
    let rots = RotRun {
        sender: RotSender::Server,
        planes: u64::from(guard_bits),
        elements: elements as u64,
        bits: one_of_many_pad_bits(guard_bits, acc_bits),
    };
    Traffic::new(vec![Step::Up { count: 1, bytes }, messages], vec![rots])
}

/// Opening shared bits: the server sends its `planes` planes.
#[must_use]
pub fn bits_traffic(elements: usize, planes: u32) -> Traffic {
    let bytes = u64::from(planes) * plane_bytes(elements);
    Traffic::new(vec![Step::Down { count: 1, bytes }], Vec::new())
}

/// Payload bytes up and down of [`traffic`] with one guard bit.
#[must_use]
pub fn open_bytes(elements: usize, acc_bits: u32) -> (u64, u64) {
    traffic(elements, acc_bits, 1).payload_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::RotCounts;

    #[test]
    fn bits_and_random_ots_of_an_opening() {
        for (guard_bits, up, down, rots, steps) in
            [(0, 0, 11, 0, 1), (1, 1, 22, 8, 2), (2, 2, 44, 16, 2), (3, 3, 88, 24, 2)]
        {
            let traffic = traffic(8, 11, guard_bits);
            assert_eq!(traffic.payload_bytes(), (up, down), "g = {guard_bits}");
            assert_eq!(traffic.rot_counts(), RotCounts { server_sends: rots, client_sends: 0 });
            assert_eq!(traffic.steps.len(), steps);
        }
        assert_eq!(bits_traffic(9, 3).payload_bytes(), (0, 6));
        assert_eq!(bits_traffic(9, 3).rot_counts().total(), 0);
    }
}
