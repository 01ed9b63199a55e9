//! Operators on integers: dequantize, compute, quantize.

use super::quantizers::{dequantize, quantize};
use super::{Call, Tensor, broadcast, layers, sigmoid};

impl Call<'_> {
    pub(super) fn on_integers(&self) -> Tensor {
        match self.node.op_type.as_str() {
            "QLinearConv" => {
                let (x, w) = (self.real(0, 0), self.real(3, 0));
                let bias = self.optional(8).map(|bias| self.wide(bias));
                self.stored(&self.conv(&x, &w, bias.as_ref()), 6)
            }
            "QLinearMatMul" => self.stored(&layers::product(&self.real(0, 0), &self.real(3, 1)), 6),
            "QGemm" => {
                let axis = usize::from(self.int("transB", 0) == 0);
                let bias = self.optional(6).map(|bias| self.wide(bias));
                let y = self.gemm(&self.real(0, 0), &self.real(3, axis), bias.as_ref());
                self.stored(&y, 7)
            }
            "QLinearAdd" => {
                self.stored(&broadcast(&self.real(0, 0), &self.real(3, 0), |a, b| a + b), 6)
            }
            "QLinearConcat" => {
                let parts: Vec<Tensor> =
                    (2..self.node.input.len()).step_by(3).map(|slot| self.real(slot, 0)).collect();
                self.stored(&self.concat(&parts.iter().collect::<Vec<_>>()), 0)
            }
            "QLinearAveragePool" => self.stored(&self.average_pool(&self.real(0, 0)), 3),
            "QLinearGlobalAveragePool" => {
                self.stored(&layers::global(&self.real(0, 0), layers::mean), 3)
            }
            "QLinearLeakyRelu" => self.stored(&self.leaky_relu(&self.real(0, 0)), 3),
            "QLinearSigmoid" => self.stored(&sigmoid(&self.real(0, 0)), 3),
            other => panic!("operator {other}"),
        }
    }

    /// The reals of the integers, scale and zero point in three slots; several scales are along `axis`.
    fn real(&self, slot: usize, axis: usize) -> Tensor {
        dequantize(self.input(slot), self.input(slot + 1), self.optional(slot + 2), axis)
    }

    /// The integers of the result, with scale and zero point in two slots.
    fn stored(&self, y: &Tensor, slot: usize) -> Tensor {
        quantize(y, self.input(slot), self.optional(slot + 1), 0, self.ties())
    }

    /// A bias of 32 bits, whose scale is the product of those of the operands.
    fn wide(&self, bias: &Tensor) -> Tensor {
        let scale = self.input(4).map(|scale| scale * self.input(1).scalar());
        dequantize(bias, &scale, None, 0)
    }
}
