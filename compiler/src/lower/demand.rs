//! In which forms the values of a network are needed: shared bits, arithmetic shares, or both.
//!
//! Linear layers and sums read arithmetic shares, wide enough for their accumulator or, if several
//! elements share a coefficient, for their field; comparisons,
//! tables and the opening of quantized values read bits. Rearranging elements is local in either
//! form, so it takes the form that is there already or costs less to make.

use super::assign_domains::LinearSteps;
use crate::analysis::range::NetworkFacts;
use heq_ir::integer::{IntegerLayer, IntegerNetwork, IntegerOp, SumOp, ValueId};

/// How a value comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Native {
    /// The client's own: needs no conversion.
    Client,
    /// As bits.
    Bits,
    /// As arithmetic shares of the value.
    Words,
    /// As an accumulator: only its requantization, which is part of the layer, or an opening reads it.
    Accumulator,
}

/// What is needed of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// Any reader, directly or not, up to the output.
    pub live: bool,
    /// A reader wants bits.
    pub bits: bool,
    /// A reader wants arithmetic shares of at least this width.
    pub words: Option<u32>,
    /// The shares are those of other values, rearranged.
    pub rearranged_words: bool,
}

impl Demand {
    fn want_words(&mut self, bits: u32) {
        self.live = true;
        self.words = self.words.max(Some(bits));
    }

    fn want_bits(&mut self) {
        self.live = true;
        self.bits = true;
    }
}

/// The forms in which the values of a network come about and are needed.
pub(super) struct Forms {
    /// How every value comes about.
    pub native: Vec<Native>,
    /// What is needed of it.
    pub demand: Vec<Demand>,
}

impl Forms {
    /// Walks the network, whose layers read earlier values, forth for how values come about, and back for what is needed of them.
    pub(super) fn new(
        network: &IntegerNetwork,
        facts: &NetworkFacts,
        linear: &LinearSteps,
    ) -> Self {
        let count = network.layers.len() + 1;
        let mut forms =
            Self { native: vec![Native::Client], demand: vec![Demand::default(); count] };
        let mut read_as_words = vec![false; count];
        for layer in &network.layers {
            let native = forms.native_of(layer, facts);
            forms.native.push(native);
            if matches!(layer.op, IntegerOp::Sum(_)) {
                layer.inputs.iter().for_each(|id| read_as_words[id.0] = true);
            }
        }
        // Rearranged shares are at hand wherever those of the sources are.
        for (index, layer) in network.layers.iter().enumerate() {
            let rearranges = matches!(
                layer.op,
                IntegerOp::View(_) | IntegerOp::Reshape(_) | IntegerOp::Concat { .. }
            );
            read_as_words[index + 1] |=
                rearranges && layer.inputs.iter().all(|id| read_as_words[id.0]);
        }
        forms.want_output(network.output.value, facts);
        for (index, layer) in network.layers.iter().enumerate().rev() {
            if forms.demand[index + 1].live {
                forms.want_inputs(index, layer, facts, linear, &read_as_words);
            }
        }
        forms
    }

    fn native_of(&self, layer: &IntegerLayer, facts: &NetworkFacts) -> Native {
        let inputs: Vec<Native> =
            layer.inputs.iter().filter_map(|id| self.native.get(id.0).copied()).collect();
        let first = inputs.first().copied().unwrap_or(Native::Words);
        match &layer.op {
            IntegerOp::Sum(SumOp { requantize: Some(_), .. }) | IntegerOp::Table(_) => Native::Bits,
            IntegerOp::Sum(op) if op.linear_terms().next().is_some() => Native::Accumulator,
            IntegerOp::Sum(_) => Native::Words,
            IntegerOp::MaxPool(_) if first == Native::Client => Native::Client,
            IntegerOp::MaxPool(_) => Native::Bits,
            // Bits that do not hold zero cannot be padded with it.
            IntegerOp::View(_) if first == Native::Bits && !self.holds_padding(layer, facts) => {
                Native::Words
            }
            IntegerOp::View(_) | IntegerOp::Reshape(_) => first,
            IntegerOp::Concat { .. } => {
                let ranges: Vec<_> =
                    layer.inputs.iter().filter_map(|id| facts.ranges.get(id.0)).collect();
                if inputs.iter().all(|&native| native == Native::Client) {
                    Native::Client
                } else if inputs.iter().any(|native| matches!(native, Native::Accumulator)) {
                    Native::Accumulator
                } else if inputs.contains(&Native::Words) || ranges.windows(2).any(|w| w[0] != w[1])
                {
                    Native::Words
                } else {
                    Native::Bits
                }
            }
        }
    }

    /// Whether bits of the source of a view hold the values of its result.
    fn holds_padding(&self, layer: &IntegerLayer, facts: &NetworkFacts) -> bool {
        let (source, result) = (layer.inputs[0].0, self.native.len());
        let range = |value: usize| facts.ranges.get(value).copied();
        range(source).zip(range(result)).is_some_and(|(source, result)| {
            source.lo == result.lo && source.bits().max(1) == result.bits().max(1)
        })
    }

    /// The output is opened in the form in which it comes about.
    fn want_output(&mut self, value: ValueId, facts: &NetworkFacts) {
        let native = self.native.get(value.0).copied();
        let width = self.width(value, facts);
        let Some(demand) = self.demand.get_mut(value.0) else { return };
        demand.live = true;
        match native {
            Some(Native::Bits) => demand.bits = true,
            Some(Native::Words) => demand.want_words(width),
            Some(Native::Client | Native::Accumulator) | None => {}
        }
    }

    /// Width that holds a value's range, and so the least one of its arithmetic shares.
    pub(super) fn width(&self, value: ValueId, facts: &NetworkFacts) -> u32 {
        facts.ranges.get(value.0).map_or(0, |range| {
            let signed = |value: i64| u64::BITS - (value ^ (value >> 63)).leading_zeros() + 1;
            (range.bits() + 1).max(signed(range.lo)).max(signed(range.hi))
        })
    }

    fn want_inputs(
        &mut self,
        index: usize,
        layer: &IntegerLayer,
        facts: &NetworkFacts,
        linear: &LinearSteps,
        read_as_words: &[bool],
    ) {
        let value = ValueId(index + 1);
        let width = self.width(value, facts);
        // Bits of a value that comes about as shares are made from these.
        if self.native[value.0] == Native::Words && self.demand[value.0].bits {
            self.demand[value.0].want_words(width);
        }
        match &layer.op {
            IntegerOp::Sum(op) => {
                let mut acc_bits = facts.acc_bits(index);
                if op.requantize.is_none() && self.native[value.0] == Native::Words {
                    acc_bits = acc_bits.max(self.demand[value.0].words.unwrap_or(0));
                    self.demand[value.0].words = Some(acc_bits);
                }
                for (term, id) in layer.inputs.iter().enumerate() {
                    let (_, packing) = linear.of((index, term));
                    self.demand[id.0].want_words(packing.operand_bits(acc_bits));
                }
            }
            IntegerOp::MaxPool(_) if self.native[value.0] == Native::Client => {
                self.each_input(layer, |demand| demand.live = true);
            }
            IntegerOp::MaxPool(_) | IntegerOp::Table(_) => {
                self.demand[value.0].bits = true;
                self.each_input(layer, Demand::want_bits);
            }
            IntegerOp::View(_) | IntegerOp::Reshape(_) | IntegerOp::Concat { .. } => {
                let Demand { bits, words, .. } = self.demand[value.0];
                match self.native[value.0] {
                    Native::Client | Native::Accumulator => {
                        self.each_input(layer, |demand| demand.live = true);
                    }
                    Native::Words => {
                        let words = words.unwrap_or(width);
                        self.each_input(layer, |demand| demand.want_words(words));
                    }
                    Native::Bits => {
                        let in_words = words.filter(|_| {
                            self.rearranges_in_words(index, layer, facts, read_as_words)
                        });
                        if let Some(words) = in_words {
                            self.each_input(layer, |demand| demand.want_words(words));
                        }
                        if bits || in_words.is_none() {
                            self.each_input(layer, Demand::want_bits);
                        }
                        // What remains is converted from the rearranged bits.
                        let demand = &mut self.demand[value.0];
                        demand.bits = bits || in_words.is_none();
                        demand.rearranged_words = in_words.is_some();
                    }
                }
            }
        }
    }

    /// Whether shares of a rearranged value are rearranged shares: if the sources' shares are needed
    /// anyway, or are no more than the result's.
    fn rearranges_in_words(
        &self,
        index: usize,
        layer: &IntegerLayer,
        facts: &NetworkFacts,
        read_as_words: &[bool],
    ) -> bool {
        let has_words = |id: &ValueId| {
            self.native[id.0] == Native::Client
                || read_as_words[id.0]
                || self.demand[id.0].words.is_some()
        };
        let length = |value: usize| {
            facts.shapes.get(value).and_then(|shape| shape.checked_len()).unwrap_or(0)
        };
        let sources = layer.inputs.iter().map(|id| length(id.0)).fold(0, usize::saturating_add);
        layer.inputs.iter().all(has_words) || sources <= length(index + 1)
    }

    fn each_input(&mut self, layer: &IntegerLayer, want: impl Fn(&mut Demand)) {
        for id in &layer.inputs {
            want(&mut self.demand[id.0]);
        }
    }
}
