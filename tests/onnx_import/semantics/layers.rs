//! Convolutions, products, normalization, pooling.

use super::moves::{element, positions};
use super::{Call, Dyadic, Tensor, broadcast};

/// How a window walks over the spatial dimensions.
struct Walk {
    kernel: Vec<usize>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    before: Vec<i64>,
    /// Spatial extents of the result.
    out: Vec<usize>,
}

impl Walk {
    /// Positions in the input, perhaps outside, that the window at `at` covers.
    fn covered(&self, at: &[usize]) -> Vec<Vec<i64>> {
        positions(&self.kernel)
            .map(|tap| {
                (0..tap.len())
                    .map(|d| {
                        at[d] as i64 * self.strides[d] - self.before[d]
                            + tap[d] as i64 * self.dilations[d]
                    })
                    .collect()
            })
            .collect()
    }
}

impl Call<'_> {
    fn walk(&self, spatial: &[usize], kernel: Vec<usize>) -> Walk {
        let rank = spatial.len();
        let strides = self.list("strides").unwrap_or(vec![1; rank]);
        let dilations = self.list("dilations").unwrap_or(vec![1; rank]);
        let mut pads = self.list("pads").unwrap_or(vec![0; 2 * rank]);
        let mut out = Vec::new();
        for axis in 0..rank {
            let reach = (kernel[axis] as i64 - 1) * dilations[axis] + 1;
            let extent = spatial[axis] as i64;
            if self.text("auto_pad").starts_with("SAME") {
                let length = (extent + strides[axis] - 1) / strides[axis];
                let total = ((length - 1) * strides[axis] + reach - extent).max(0);
                let (less, more) = (total / 2, total - total / 2);
                (pads[axis], pads[axis + rank]) =
                    if self.text("auto_pad") == "SAME_UPPER" { (less, more) } else { (more, less) };
            }
            let room = extent + pads[axis] + pads[axis + rank] - reach;
            out.push((room / strides[axis] + 1) as usize);
        }
        Walk { kernel, strides, dilations, before: pads[..rank].to_vec(), out }
    }

    pub(super) fn conv(&self, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let walk = self.walk(&x.dims[2..], w.dims[2..].to_vec());
        let groups = self.int("group", 1) as usize;
        let (outputs, inputs) = (w.dims[0], w.dims[1]);
        let dims = [vec![1, outputs], walk.out.clone()].concat();
        let values = positions(&dims).map(|position| {
            let k = position[1];
            let mut sum = bias.map_or(Dyadic::ZERO, |bias| bias.values[k]);
            let covered = walk.covered(&position[2..]);
            for c in 0..inputs {
                let channel = k / (outputs / groups) * inputs + c;
                for (tap, source) in covered.iter().enumerate() {
                    let source = [vec![0, channel as i64], source.clone()].concat();
                    if let Some(x) = element(x, &source) {
                        sum = sum + x * w.values[(k * inputs + c) * covered.len() + tap];
                    }
                }
            }
            sum
        });
        let values = values.collect();
        Tensor::reals(dims, values)
    }

    pub(super) fn gemm(&self, a: &Tensor, b: &Tensor, c: Option<&Tensor>) -> Tensor {
        let b = if self.int("transB", 0) != 0 { transposed(b) } else { b.clone() };
        let (alpha, beta) = (self.float("alpha", 1.0), self.float("beta", 1.0));
        let y = product(a, &b).map(|y| y * alpha);
        match c {
            Some(c) => broadcast(&y, c, |y, c| y + c * beta),
            None => y,
        }
    }

    pub(super) fn batch_normalization(&self) -> Tensor {
        let x = self.input(0);
        let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|slot| self.input(slot));
        let epsilon = self.float("epsilon", 1e-5);
        let (_, channels, behind) = x.split(1);
        let values = x.values.iter().enumerate().map(|(index, &x)| {
            let c = index / behind % channels;
            let root = (variance.values[c] + epsilon).root();
            (scale.values[c] * (x - mean.values[c])).halved(root) + bias.values[c]
        });
        Tensor::reals(x.dims.clone(), values.collect())
    }

    pub(super) fn max_pool(&self, x: &Tensor) -> Tensor {
        let pooled = self.pool(x, |window, _| window.iter().copied().max().unwrap());
        Tensor { ty: x.ty, ..pooled }
    }

    pub(super) fn average_pool(&self, x: &Tensor) -> Tensor {
        let all = self.int("count_include_pad", 0) != 0;
        self.pool(x, |window, area| {
            let sum = window.iter().fold(Dyadic::ZERO, |sum, &x| sum + x);
            divided(sum, if all { area } else { window.len() })
        })
    }

    /// A function of the elements of every window and of its area.
    fn pool(&self, x: &Tensor, f: impl Fn(&[Dyadic], usize) -> Dyadic) -> Tensor {
        let kernel = self.list("kernel_shape").unwrap();
        let walk = self.walk(&x.dims[2..], kernel.iter().map(|&taps| taps as usize).collect());
        let dims = [x.dims[..2].to_vec(), walk.out.clone()].concat();
        let values = positions(&dims).map(|position| {
            let covered = walk.covered(&position[2..]);
            let inside = covered.iter().filter_map(|source| {
                element(x, &[vec![0, position[1] as i64], source.clone()].concat())
            });
            f(&inside.collect::<Vec<_>>(), covered.len())
        });
        let values = values.collect();
        Tensor::reals(dims, values)
    }
}

/// A function of every channel's plane.
pub(super) fn global(x: &Tensor, f: impl Fn(&[Dyadic]) -> Dyadic) -> Tensor {
    let (_, _, plane) = x.split(1);
    let mut dims = x.dims.clone();
    dims[2..].fill(1);
    Tensor { dims, values: x.values.chunks(plane).map(f).collect(), ty: x.ty }
}

pub(super) fn mean(plane: &[Dyadic]) -> Dyadic {
    divided(plane.iter().fold(Dyadic::ZERO, |sum, &x| sum + x), plane.len())
}

fn divided(sum: Dyadic, count: usize) -> Dyadic {
    assert!(count.is_power_of_two(), "an exact mean");
    sum.halved(count.ilog2().cast_signed())
}

/// `a: [1, F]` times `b: [F, K]`.
pub(super) fn product(a: &Tensor, b: &Tensor) -> Tensor {
    let &[features, outputs] = &b.dims[..] else { panic!("a matrix") };
    assert_eq!(a.values.len(), features);
    let column = |k: usize| {
        (0..features).fold(Dyadic::ZERO, |sum, f| sum + a.values[f] * b.values[f * outputs + k])
    };
    Tensor::reals(vec![1, outputs], (0..outputs).map(column).collect())
}

fn transposed(b: &Tensor) -> Tensor {
    let &[rows, columns] = &b.dims[..] else { panic!("a matrix") };
    let values = (0..columns * rows).map(|index| b.values[index % rows * columns + index / rows]);
    Tensor { dims: vec![columns, rows], values: values.collect(), ty: b.ty }
}
