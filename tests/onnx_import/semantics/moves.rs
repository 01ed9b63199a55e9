//! Operators that move elements.

use super::{Call, Dyadic, Tensor};

impl Call<'_> {
    pub(super) fn flatten(&self) -> Tensor {
        let x = self.input(0);
        let axis = self.axis("axis", 1, x.dims.len());
        let (first, second) = x.dims.split_at(axis);
        let dims = vec![first.iter().product(), second.iter().product()];
        Tensor { dims, ..x.clone() }
    }

    pub(super) fn reshape(&self) -> Tensor {
        let x = self.input(0);
        let mut dims: Vec<i64> = self.input(1).integers();
        for (index, dim) in dims.iter_mut().enumerate() {
            if *dim == 0 && self.int("allowzero", 0) == 0 {
                *dim = x.dims[index] as i64;
            }
        }
        let known: i64 = dims.iter().filter(|&&dim| dim >= 0).product();
        let rest = x.values.len() as i64 / known;
        let dims = dims.iter().map(|&dim| if dim < 0 { rest } else { dim } as usize).collect();
        Tensor { dims, ..x.clone() }
    }

    pub(super) fn transpose(&self) -> Tensor {
        let x = self.input(0);
        let reversed = (0..x.dims.len() as i64).rev().collect();
        let perm = self.list("perm").unwrap_or(reversed);
        let dims: Vec<usize> = perm.iter().map(|&axis| x.dims[axis as usize]).collect();
        gather(x, dims, |position| {
            let mut source = vec![0; position.len()];
            for (index, &axis) in perm.iter().enumerate() {
                source[axis as usize] = position[index] as i64;
            }
            source
        })
    }

    pub(super) fn pad(&self) -> Tensor {
        let (x, pads) = (self.input(0), self.input(1).integers());
        let rank = x.dims.len();
        let dims =
            (0..rank).map(|axis| (x.dims[axis] as i64 + pads[axis] + pads[axis + rank]) as usize);
        gather(x, dims.collect(), |position| {
            position.iter().zip(&pads).map(|(&at, &before)| at as i64 - before).collect()
        })
    }

    pub(super) fn slice(&self) -> Tensor {
        let x = self.input(0);
        let [starts, ends, axes, steps] = [1, 2, 3, 4].map(|slot| self.input(slot).integers());
        let mut dims = x.dims.clone();
        let mut walks: Vec<(i64, i64)> = vec![(0, 1); dims.len()];
        for (((start, end), axis), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
            let axis = (if axis < 0 { axis + dims.len() as i64 } else { axis }) as usize;
            let extent = x.dims[axis] as i64;
            let from_end = |at: i64| if at < 0 { at.saturating_add(extent) } else { at };
            let (first, last) = match step > 0 {
                true => (from_end(start).clamp(0, extent), from_end(end).clamp(0, extent)),
                false => {
                    (from_end(start).clamp(0, extent - 1), from_end(end).clamp(-1, extent - 1))
                }
            };
            let mut count = 0;
            let mut at = first;
            while if step > 0 { at < last } else { at > last } {
                count += 1;
                at += step;
            }
            dims[axis] = count;
            walks[axis] = (first, step);
        }
        gather(x, dims, |position| {
            position
                .iter()
                .zip(&walks)
                .map(|(&at, (first, step))| first + at as i64 * step)
                .collect()
        })
    }

    pub(super) fn concat(&self, parts: &[&Tensor]) -> Tensor {
        let axis = self.axis("axis", 1, parts[0].dims.len());
        let mut dims = parts[0].dims.clone();
        dims[axis] = parts.iter().map(|part| part.dims[axis]).sum();
        let (before, ..) = parts[0].split(axis);
        let mut values = Vec::new();
        for index in 0..before {
            for part in parts {
                let run = part.values.len() / before;
                values.extend_from_slice(&part.values[index * run..][..run]);
            }
        }
        Tensor { dims, values, ty: parts[0].ty }
    }
}

/// All positions of a tensor in row-major order.
pub(super) fn positions(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    (0..dims.iter().product()).map(move |mut index: usize| {
        let mut position = vec![0; dims.len()];
        for (at, &dim) in position.iter_mut().zip(dims).rev() {
            (*at, index) = (index % dim, index / dim);
        }
        position
    })
}

/// The element at a position, if there is one.
pub(super) fn element(x: &Tensor, position: &[i64]) -> Option<Dyadic> {
    let mut index = 0;
    for (&at, &dim) in position.iter().zip(&x.dims) {
        let at = usize::try_from(at).ok().filter(|&at| at < dim)?;
        index = index * dim + at;
    }
    Some(x.values[index])
}

/// The tensor whose element at a position is the one of `x` at the position that `source` says, or 0.
fn gather(x: &Tensor, dims: Vec<usize>, source: impl Fn(&[usize]) -> Vec<i64>) -> Tensor {
    let value = |position: Vec<usize>| element(x, &source(&position)).unwrap_or(Dyadic::ZERO);
    let values = positions(&dims).map(value).collect();
    Tensor { dims, values, ty: x.ty }
}
