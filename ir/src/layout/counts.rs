//! How many polynomials, transforms, products and key switches a layout takes: exact.

use crate::params::RlweParams;
use std::ops::{AddAssign, Range};

/// Numbers of polynomials that a layout handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutCounts {
    /// Tiles over the output plane; if a coefficient holds several, as many count as one.
    pub spatial: usize,
    /// Tiles over the groups.
    pub group_tiles: usize,
    /// Tiles over the planes of a group.
    pub input_tiles: usize,
    /// Rows of weight polynomials: kernel tiles of all groups, or of all tiles of spread groups. The
    /// products of a row and a spatial tile are summed to one leaf.
    pub rows: usize,
    /// Rows of one tile over the groups.
    pub rows_of_group_tile: usize,
    /// Levels m of merging.
    pub merge_levels: u32,
}

/// Operations of one party on polynomials of N coefficients, limb by limb.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartyOperations {
    /// Number-theoretic transforms, forward and inverse.
    pub transforms: u64,
    /// Transforms of weights: once if they are kept, else in every inference.
    pub weight_transforms: u64,
    /// Products of a ciphertext and a weight polynomial: two multiply-accumulate passes each.
    pub products: u64,
    /// Key switches.
    pub key_switches: u64,
}

impl PartyOperations {
    /// What was counted since `earlier`, a count of the same party.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            transforms: self.transforms.saturating_sub(earlier.transforms),
            weight_transforms: self.weight_transforms.saturating_sub(earlier.weight_transforms),
            products: self.products.saturating_sub(earlier.products),
            key_switches: self.key_switches.saturating_sub(earlier.key_switches),
        }
    }
}

impl AddAssign for PartyOperations {
    fn add_assign(&mut self, other: Self) {
        self.transforms += other.transforms;
        self.weight_transforms += other.weight_transforms;
        self.products += other.products;
        self.key_switches += other.key_switches;
    }
}

impl LayoutCounts {
    /// Request polynomials.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.spatial.saturating_mul(self.group_tiles).saturating_mul(self.input_tiles)
    }

    /// Sums of products.
    #[must_use]
    pub fn leaves(&self) -> usize {
        self.spatial.saturating_mul(self.rows)
    }

    /// Response polynomials.
    #[must_use]
    pub fn responses(&self) -> usize {
        self.leaves().div_ceil(1 << self.merge_levels)
    }

    /// Weight polynomials.
    #[must_use]
    pub fn weights(&self) -> usize {
        self.rows.saturating_mul(self.input_tiles)
    }

    /// Polynomial products.
    #[must_use]
    pub fn products(&self) -> usize {
        self.spatial.saturating_mul(self.weights())
    }

    /// The leaves that are merged into response `response`.
    #[must_use]
    pub fn leaves_of(&self, response: usize) -> Range<usize> {
        let first = response << self.merge_levels;
        first..(first + (1 << self.merge_levels)).min(self.leaves())
    }

    /// The row of weights of a leaf.
    #[must_use]
    pub fn row_of(&self, leaf: usize) -> usize {
        leaf % self.rows
    }

    /// The requests that a leaf sums over, in the order of the input tiles.
    #[must_use]
    pub fn requests_of(&self, leaf: usize) -> Range<usize> {
        let block = self.block_of(leaf);
        block * self.input_tiles..(block + 1) * self.input_tiles
    }

    /// The block of those requests.
    #[must_use]
    pub fn block_of(&self, leaf: usize) -> usize {
        let (spatial, row) = (leaf / self.rows, leaf % self.rows);
        // Rows of one group tile follow each other.
        spatial * self.group_tiles + row / self.rows_of_group_tile
    }

    /// Blocks of requests: those of one spatial tile and one tile over the groups.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.spatial * self.group_tiles
    }

    /// The blocks that the responses of a range sum over. Neither end moves back from one range to the next.
    #[must_use]
    pub fn blocks_of(&self, responses: Range<usize>) -> Range<usize> {
        let (Some(last), false) = (responses.end.checked_sub(1), responses.is_empty()) else {
            return 0..0;
        };
        let first = self.leaves_of(responses.start).start;
        let last = self.leaves_of(last).end.saturating_sub(1);
        self.block_of(first)..self.block_of(last) + 1
    }

    /// Key switches of the server: merging n leaves takes n - 1.
    #[must_use]
    pub fn key_switches(&self) -> usize {
        self.leaves() - self.responses()
    }

    /// Responses of more than one leaf: each but the last has as many as can be merged.
    #[must_use]
    pub fn merged_responses(&self) -> usize {
        match (self.merge_levels, self.responses()) {
            (0, _) | (_, 0) => 0,
            (_, responses) => responses - usize::from(self.leaves_of(responses - 1).len() == 1),
        }
    }

    /// Operations of the client: a request takes one transform a limb, a response two.
    #[must_use]
    pub fn client_operations(&self, params: &RlweParams) -> PartyOperations {
        let polynomials = self.requests() + 2 * self.responses();
        let transforms = (polynomials * params.limbs()) as u64;
        PartyOperations { transforms, ..PartyOperations::default() }
    }

    /// Operations of the server: a request and a leaf take one transform a limb and a response two; a
    /// key switch one for every digit and one back, each for all limbs and the special prime, for which
    /// a response of merged leaves takes one more.
    #[must_use]
    pub fn server_operations(&self, params: &RlweParams) -> PartyOperations {
        let limbs = params.limbs();
        let digits = params.key_switch().map_or(0, |key_switch| key_switch.digits as usize);
        let polynomials = self.requests() + self.leaves() + 2 * self.responses();
        let switched = self.key_switches() * (digits + 1) * (limbs + 1) + self.merged_responses();
        PartyOperations {
            transforms: (polynomials * limbs + switched) as u64,
            weight_transforms: (self.weights() * limbs) as u64,
            products: (self.products() * limbs) as u64,
            key_switches: self.key_switches() as u64,
        }
    }
}
