//! The elements of requests, weight polynomials and responses, one by one or in runs.
//!
//! Runs are rows of a tile: evenly spaced coefficients of evenly spaced elements, so that whoever fills
//! or reads polynomials does the arithmetic of places once a row.

use super::{ConvLayout, LayoutCounts};
use crate::secure::MAX_FIELDS;

/// Input elements in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputRun {
    /// Coefficient of the first.
    pub coefficient: usize,
    /// Distance of their coefficients.
    pub coefficient_step: usize,
    /// The field of the coefficients, from the lowest.
    pub field: usize,
    /// Index of the first in the input `[B*C, H, W]`.
    pub index: usize,
    /// Distance of their indices.
    pub index_step: usize,
    /// How many.
    pub len: usize,
}

impl InputRun {
    /// The elements as `(coefficient, index)`.
    #[must_use]
    pub fn elements(self) -> impl ExactSizeIterator<Item = (usize, usize)> {
        let Self { coefficient, coefficient_step, index, index_step, .. } = self;
        (0..self.len).map(move |i| (coefficient + i * coefficient_step, index + i * index_step))
    }
}

/// Coefficients of a response with the outputs that they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputRun {
    /// The first coefficient.
    pub coefficient: usize,
    /// Distance of the coefficients.
    pub coefficient_step: usize,
    /// By field within a channel, else the first entry: index of the first coefficient's output in
    /// `[B*K, OH, OW]`; those of the others follow it.
    pub outputs: [Option<usize>; MAX_FIELDS],
    /// How many.
    pub len: usize,
}

impl OutputRun {
    /// The coefficients.
    #[must_use]
    pub fn coefficients(self) -> impl ExactSizeIterator<Item = usize> {
        (0..self.len).map(move |i| self.coefficient + i * self.coefficient_step)
    }
}

/// A weight in a weight polynomial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedWeight {
    /// Its coefficient. Across channels two weights share one.
    pub coefficient: usize,
    /// Whether it is placed with the opposite sign.
    pub is_negated: bool,
    /// The field of the coefficient, from the lowest.
    pub field: usize,
    /// Its index in the weights `[K, C/G, R, S]`.
    pub index: usize,
}

/// Places weights; what all polynomials of a layout share is worked out once.
#[derive(Clone, Debug)]
pub struct WeightPlacer<'a> {
    layout: &'a ConvLayout,
    counts: LayoutCounts,
    /// By phases of a plane: coefficients from an output to what a tap reads, and the tap.
    taps: Vec<Vec<(isize, usize)>>,
}

impl ConvLayout {
    /// The input elements of a request; fields that are not listed are zero.
    pub fn request_runs(&self, request: usize) -> impl Iterator<Item = InputRun> + '_ {
        let counts = self.counts();
        let (block, inputs) = (request / counts.input_tiles, request % counts.input_tiles);
        let (spatial, group_tile) = (block / counts.group_tiles, block % counts.group_tiles);
        let [rows, columns] = &*self.axes;
        self.input_groups(group_tile).flat_map(move |(place, group)| {
            self.tile_planes(inputs).flat_map(move |(slot, plane, plane_field)| {
                let [channel, phase_y, phase_x] = self.plane(plane);
                let channel = group * self.geometry.group_inputs() + channel;
                let tiles = self.fields(spatial).flat_map(move |(field, [tile, row, column])| {
                    let samples = self.samples(tile).enumerate();
                    samples.map(move |(place, sample)| (field, place, sample, row, column))
                });
                tiles.flat_map(move |(tile_field, sample_place, sample, row, column)| {
                    let channel = sample * self.geometry.sample_channels() + channel;
                    let (y, in_y, height) = rows.run(&self.cuts[0], row, phase_y);
                    let (x, in_x, len) = columns.run(&self.cuts[1], column, phase_x);
                    (0..height).map(move |i| InputRun {
                        coefficient: place + slot + self.slot(sample_place, y + i, x),
                        coefficient_step: self.slot(0, 0, 1),
                        field: plane_field + tile_field,
                        index: self.geometry.input.index(channel, in_y + i * rows.stride(), in_x),
                        index_step: columns.stride(),
                        len,
                    })
                })
            })
        })
    }

    /// The outputs of a response, leaf after leaf.
    pub fn response_runs(&self, response: usize) -> impl Iterator<Item = OutputRun> + '_ {
        let counts = self.counts();
        let step = self.stride >> self.tile.merge_levels;
        counts.leaves_of(response).enumerate().flat_map(move |(merged, leaf)| {
            self.leaf_runs(leaf)
                .map(move |run| OutputRun { coefficient: run.coefficient + merged * step, ..run })
        })
    }

    /// The outputs of a leaf before it is merged.
    pub fn leaf_runs(&self, leaf: usize) -> impl Iterator<Item = OutputRun> + '_ {
        let counts = self.counts();
        let (spatial, row) = (leaf / counts.rows, leaf % counts.rows);
        let kernel_tiles = self.kernel_tiles();
        let kernels = self.kernels(row % kernel_tiles);
        self.row_groups(row / kernel_tiles).flat_map(move |(place, _, group)| {
            let first = group * self.geometry.group_outputs();
            kernels.clone().enumerate().flat_map(move |(k_slot, k)| {
                let coefficient = 2 * place + k_slot * self.stride;
                let rows = self.tile.output[0];
                (0..self.tile.samples * rows).filter_map(move |row| {
                    let (sample, y) = (row / rows, row % rows);
                    let (outputs, len) = self.outputs_at(spatial, first + k, sample, y)?;
                    Some(OutputRun {
                        coefficient: coefficient + self.slot(sample, y, 0),
                        coefficient_step: self.slot(0, 0, 1),
                        outputs,
                        len,
                    })
                })
            })
        })
    }

    /// The first outputs of kernel k in row y of a tile's sample, by field, and how many follow; `None` if the
    /// tiles have no such row. Tiles of lower fields are no shorter, and all are of one width if there
    /// are several.
    fn outputs_at(
        &self,
        spatial: usize,
        k: usize,
        sample: usize,
        y: usize,
    ) -> Option<([Option<usize>; MAX_FIELDS], usize)> {
        let mut outputs = [None; MAX_FIELDS];
        let mut len = None;
        let kernels = self.geometry.out_channels;
        for (entry, (_, [tile, row, column])) in outputs.iter_mut().zip(self.fields(spatial)) {
            let columns = self.axes[1].outputs(&self.cuts[1], column);
            let sample = self.samples(tile).nth(sample);
            let out_y = self.axes[0].outputs(&self.cuts[0], row).nth(y);
            *entry = sample.zip(out_y).map(|(sample, out_y)| {
                self.output.index(sample * kernels + k, out_y, columns.start)
            });
            len = len.or(entry.map(|_| columns.len()));
        }
        Some((outputs, len?))
    }
}

impl<'a> WeightPlacer<'a> {
    /// Places the weights of `layout`.
    #[must_use]
    pub fn new(layout: &'a ConvLayout) -> Self {
        let [rows, columns] = &*layout.axes;
        let [_, s] = layout.geometry.window.kernel;
        let (pitch, slot) =
            (layout.cuts[1].pitch.cast_signed(), layout.slot(0, 0, 1).cast_signed());
        let mut taps = vec![Vec::new(); rows.phases.len() * columns.phases.len()];
        for (tap_y, y) in rows.reads(&layout.cuts[0]) {
            for (tap_x, x) in columns.reads(&layout.cuts[1]) {
                let phases = tap_y.phase * columns.phases.len() + tap_x.phase;
                taps[phases].push(((y * pitch + x) * slot, tap_y.index * s + tap_x.index));
            }
        }
        Self { layout, counts: layout.counts(), taps }
    }

    /// How many polynomials the layout handles.
    #[must_use]
    pub fn counts(&self) -> &LayoutCounts {
        &self.counts
    }

    /// The weights of the polynomial of row `row` for input tile `input_tile`. Fastest from inside, as
    /// by `for_each`.
    pub fn elements(
        &self,
        row: usize,
        input_tile: usize,
    ) -> impl Iterator<Item = PlacedWeight> + '_ {
        let layout = self.layout;
        let geometry = &layout.geometry;
        let kernel_tiles = layout.kernel_tiles();
        let kernels = layout.kernels(row % kernel_tiles);
        let top = layout.packing.planes_per_coefficient() - 1;
        let phases = layout.axes[1].phases.len();
        let [r, s] = geometry.window.kernel;
        layout.row_groups(row / kernel_tiles).flat_map(move |(place, below, group)| {
            let first = group * geometry.group_outputs();
            kernels.clone().enumerate().flat_map(move |(k_slot, k)| {
                let kernel = (first + k) * geometry.fan_in();
                let origin = (place + k_slot * layout.stride).cast_signed();
                layout.tile_planes(input_tile).flat_map(move |(slot, plane, plane_field)| {
                    let [channel, phase_y, phase_x] = layout.plane(plane);
                    let origin = origin - (below + slot).cast_signed();
                    let weights = kernel + channel * r * s;
                    self.taps[phase_y * phases + phase_x].iter().map(move |&(shift, tap)| {
                        let (coefficient, is_negated) = layout.wrap(origin - shift);
                        // The wanted products of two fields meet in the middle.
                        let field = top - plane_field;
                        PlacedWeight { coefficient, is_negated, field, index: weights + tap }
                    })
                })
            })
        })
    }
}

impl ConvLayout {
    /// The coefficient of `X^place`, and whether it wraps with a sign. Places are a few N at most.
    fn wrap(&self, mut place: isize) -> (usize, bool) {
        let n = self.ring_degree.cast_signed();
        let mut is_negated = false;
        while place < 0 {
            place += n;
            is_negated = !is_negated;
        }
        while place >= n {
            place -= n;
            is_negated = !is_negated;
        }
        (place.unsigned_abs(), is_negated)
    }
}
