"""Writes a quantized ONNX network with random weights: only shapes, widths and scales are real.

    python3 examples/onnx/generate.py resnet32 --weight-bits 4 --activation-bits 4 -o resnet32_w4a4.onnx

Needs onnx and numpy, nothing else. The same arguments give the same weights.
"""

import argparse
import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13
IR_VERSION = 8

# Mean and variance of the largest of kernel^2 normal deviates.
LARGEST = {2: (1.03, 0.49), 3: (1.49, 0.36)}


def positive_part(mean, variance):
    """Mean and variance of the positive part of a normal deviate."""
    deviation = math.sqrt(variance)
    density = deviation * math.exp(-(mean**2) / (2 * variance)) / math.sqrt(2 * math.pi)
    share = (1 + math.erf(mean / (deviation * math.sqrt(2)))) / 2
    first = mean * share + density
    return first, (mean**2 + variance) * share + mean * density - first**2


class Quantizer:
    """Integers of some bits: real value = scale * integer, no zero point."""

    def __init__(self, bits, signed, scale):
        self.bits, self.signed, self.scale = bits, signed, scale
        self.low = -(1 << (bits - 1)) if signed else 0
        self.high = self.low + (1 << bits) - 1
        self.type = np.int8 if signed else np.uint8


class Tensor:
    """A tensor of reals under construction: name, shape [C, H, W], estimated variance and mean."""

    def __init__(self, name, shape, variance, quantized=None, mean=0.0):
        self.name, self.shape, self.quantized = name, shape, quantized
        self.variance, self.mean = variance, mean


class Builder:
    """Quantized layers. Weights are drawn so that every channel's sum has a deviation near 1 before
    its activation, whatever its fan-in, and quantizers span what sums of that deviation take."""

    def __init__(self, name, arguments, input_shape):
        self.name, self.arguments = name, arguments
        self.random = np.random.default_rng(arguments.seed)
        self.nodes, self.initializers, self.count = [], [], 0
        channels, height, width = input_shape
        self.input = helper.make_tensor_value_info(
            "input", TensorProto.FLOAT, [1, channels, height, width]
        )
        self.first = Tensor("input", input_shape, 1.0)

    def constant(self, values, name="constant"):
        self.count += 1
        name = f"{name}_{self.count}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, operator, inputs, name=None, **attributes):
        self.count += 1
        name = name or f"{operator.lower()}_{self.count}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def scale(self, value):
        """A scale of the wanted kind near value, or an array of them."""
        if self.arguments.scales == "po2":
            value = np.exp2(np.round(np.log2(value)))
        return np.float32(value)

    def quantize(self, tensor, bits, signed, name):
        """QuantizeLinear, for fewer than 8 bits Clip, DequantizeLinear."""
        deviation = math.sqrt(tensor.variance)
        high = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1
        # Two bits span less, so that more than the outliers differ from zero.
        deviations = 3.0 if bits > 2 else 2.0
        to = Quantizer(bits, signed, self.scale((tensor.mean + deviations * deviation) / high))
        scale = self.constant(np.float32(to.scale), name + "_scale")
        zero = self.constant(to.type(0), name + "_zero_point")
        integers = self.node("QuantizeLinear", [tensor.name, scale, zero], name + "_quantized")
        if bits < 8:
            bounds = [self.constant(to.type(bound)) for bound in (to.low, to.high)]
            integers = self.node("Clip", [integers, *bounds])
        reals = self.node("DequantizeLinear", [integers, scale, zero], name + "_dequantized")
        return Tensor(reals, tensor.shape, tensor.variance, to, tensor.mean)

    def weights(self, shape, bits, variance, name):
        """DequantizeLinear of random integers, with a scale a channel; returns these, too."""
        high = (1 << (bits - 1)) - 1
        fan_in = int(np.prod(shape[1:]))
        # Every weight but an odd one has its opposite, so that the mean of activations cancels:
        # else the outputs of a deep network hardly depend on its input.
        half = self.random.integers(-high, high, size=(shape[0], (fan_in + 1) // 2), endpoint=True)
        integers = np.concatenate([half, -half], axis=1)[:, :fan_in]
        integers = self.random.permuted(integers, axis=1).reshape(shape).astype(np.int8)
        mean_square = high * (high + 1) / 3
        channels = self.random.uniform(0.7, 1.4, size=shape[0])
        scales = self.scale(channels / math.sqrt(fan_in * mean_square * variance))
        stored = self.constant(integers, name + "_weight")
        if bits < 8:
            bounds = [self.constant(np.int8(bound)) for bound in (-(high + 1), high)]
            stored = self.node("Clip", [stored, *bounds])
        scale = self.constant(scales, name + "_weight_scale")
        zeros = self.constant(np.zeros(shape[0], np.int8), name + "_weight_zero_point")
        reals = self.node("DequantizeLinear", [stored, scale, zeros], axis=0)
        return reals, scales

    def bias(self, count, scales, name):
        """DequantizeLinear of random integers at the scale of sums."""
        reals = self.random.normal(0.0, 0.1, size=count)
        integers = np.round(reals / scales).astype(np.int32)
        stored = self.constant(integers, name + "_bias")
        scale = self.constant(scales, name + "_bias_scale")
        zeros = self.constant(np.zeros(count, np.int32), name + "_bias_zero_point")
        return self.node("DequantizeLinear", [stored, scale, zeros], axis=0)

    def conv(self, tensor, name, out_channels, kernel, stride=1, groups=1, pad=None, bits=None):
        """A convolution; its result has no quantizer yet."""
        channels, height, width = tensor.shape
        bits = bits or self.arguments.weight_bits
        pad = kernel // 2 if pad is None else pad
        shape = (out_channels, channels // groups, kernel, kernel)
        weights, scales = self.weights(shape, bits, tensor.variance, name)
        bias = self.bias(out_channels, scales * tensor.quantized.scale, name)
        result = self.node(
            "Conv",
            [tensor.name, weights, bias],
            name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
            group=groups,
        )
        size = [(extent + 2 * pad - kernel) // stride + 1 for extent in (height, width)]
        return Tensor(result, (out_channels, *size), 1.0)

    def activated(self, tensors, name, operator="Relu", bits=None):
        """An activation and its quantizer; of several tensors the channels together, behind one."""
        tensors = tensors if isinstance(tensors, list) else [tensors]
        results = []
        for tensor in tensors:
            if operator == "Relu":
                results.append(self.node("Relu", [tensor.name]))
            else:
                bounds = [self.constant(np.float32(bound)) for bound in (0.0, 6.0)]
                results.append(self.node("Clip", [tensor.name, *bounds]))
        result = results[0] if len(results) == 1 else self.node("Concat", results, axis=1)
        channels = sum(tensor.shape[0] for tensor in tensors)
        shape, variance, mean = (channels, *tensor.shape[1:]), tensor.variance, tensor.mean
        bits = bits or self.arguments.activation_bits
        # What is not positive is of no account for the span of the quantizer.
        quantized = self.quantize(Tensor(result, shape, variance, None, mean), bits, False, name)
        quantized.mean, quantized.variance = positive_part(mean, variance)
        return quantized

    def max_pool(self, tensor, kernel, stride, pad=0):
        """The largest of every window; its values are those of the quantizer before it."""
        result = self.node(
            "MaxPool",
            [tensor.name],
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
        )
        size = [(extent + 2 * pad - kernel) // stride + 1 for extent in tensor.shape[1:]]
        average, variance = positive_part(0.0, 1.0)
        mean = tensor.mean * LARGEST[kernel][0] / average
        variance = tensor.variance * LARGEST[kernel][1] / variance
        return Tensor(result, (tensor.shape[0], *size), variance, tensor.quantized, mean)

    def signed(self, tensor, name):
        """A quantizer behind no activation."""
        return self.quantize(tensor, self.arguments.activation_bits, True, name)

    def add(self, a, b):
        """A sum of two branches, without quantizers of their own."""
        result = self.node("Add", [a.name, b.name])
        return Tensor(result, a.shape, a.variance + b.variance, None, a.mean + b.mean)

    def image(self):
        """The input, quantized."""
        return self.quantize(self.first, self.arguments.edge_bits, True, "image")

    def average(self, tensor):
        """Average over all positions, as a vector without a quantizer."""
        pooled = self.node("GlobalAveragePool", [tensor.name])
        shape = (tensor.shape[0], 1, 1)
        return self.flat(Tensor(pooled, shape, tensor.variance / 2, None, tensor.mean))

    def classifier(self, tensor, classes):
        """Average over all positions, quantizer, matrix product."""
        features = self.average(tensor)
        is_signed = tensor.quantized.signed
        features = self.quantize(features, self.arguments.edge_bits, is_signed, "features")
        return self.dense(features, "classifier", classes, self.arguments.edge_bits)

    def flat(self, tensor):
        """All elements as a vector."""
        name = self.node("Flatten", [tensor.name], axis=1)
        shape = (math.prod(tensor.shape), 1, 1)
        return Tensor(name, shape, tensor.variance, tensor.quantized, tensor.mean)

    def dense(self, tensor, name, outputs, bits=None):
        """A matrix product; its result has no quantizer yet."""
        shape = (outputs, int(np.prod(tensor.shape)))
        bits = bits or self.arguments.weight_bits
        weights, scales = self.weights(shape, bits, tensor.variance, name)
        bias = self.bias(outputs, scales * tensor.quantized.scale, name)
        result = self.node("Gemm", [tensor.name, weights, bias], name, transB=1)
        return Tensor(result, (outputs, 1, 1), 1.0)

    def finish(self, tensor):
        output = helper.make_tensor_value_info(
            tensor.name, TensorProto.FLOAT, [1, tensor.shape[0]]
        )
        graph = helper.make_graph(
            self.nodes, self.name, [self.input], [output], initializer=self.initializers
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, producer_name="heq")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return model


def drop_rows(net, x, name, shape, stride):
    """A shortcut that drops rows and columns and adds zero channels."""
    starts, ends, axes, steps = [0, 0], [2**31 - 1] * 2, [2, 3], [stride] * 2
    bounds = [net.constant(np.array(value, np.int64)) for value in (starts, ends, axes, steps)]
    sliced = net.node("Slice", [x.name, *bounds])
    more = shape[0] - x.shape[0]
    pads = net.constant(np.array([0, more // 2, 0, 0, 0, more - more // 2, 0, 0], np.int64))
    padded = net.node("Pad", [sliced, pads], mode="constant")
    share = x.shape[0] / shape[0]
    return Tensor(padded, shape, x.variance * share, None, x.mean * share)


def project(net, x, name, shape, stride):
    """A shortcut by a 1x1 convolution."""
    return net.conv(x, name + "_shortcut", shape[0], 1, stride)


def basic(channels, stride):
    return [(channels, 3, stride), (channels, 3, 1)]


def bottleneck(channels, stride):
    """Strides are those of the 3x3 convolution, as in torchvision."""
    return [(channels, 1, 1), (channels, 3, stride), (4 * channels, 1, 1)]


def residual_block(net, x, name, convs, shortcut):
    """Convolutions (channels, kernel, stride) around x, or a shortcut where shapes differ."""
    y = x
    for index, (channels, kernel, stride) in enumerate(convs, 1):
        y = net.conv(y, f"{name}_conv{index}", channels, kernel, stride)
        if index < len(convs):
            y = net.activated(y, f"{name}_act{index}")
    stride = math.prod(stride for _, _, stride in convs)
    skip = x if x.shape == y.shape else shortcut(net, x, name, y.shape, stride)
    return net.activated(net.add(y, skip), f"{name}_act{len(convs)}")


def residual_stages(net, x, blocks, width, convs, shortcut):
    """Stages of so many blocks; all but the first halve the extents and double the channels."""
    for stage, count in enumerate(blocks):
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            name = f"stage{stage + 1}_block{block + 1}"
            x = residual_block(net, x, name, convs(width << stage, stride), shortcut)
    return x


def stem(net, channels, kernel, stride=1, pad=None):
    """The first convolution."""
    bits = net.arguments.edge_bits
    x = net.conv(net.image(), "stem", channels, kernel, stride, pad=pad, bits=bits)
    return net.activated(x, "stem_act")


def cifar_resnet(blocks):
    """The ResNets of CIFAR: three stages of 16, 32 and 64 channels. [HZRS16, Section 4.2]"""

    def build(net):
        x = residual_stages(net, stem(net, 16, 3), [blocks] * 3, 16, basic, drop_rows)
        return net.classifier(x, 10)

    return build, (3, 32, 32)


def imagenet_resnet(blocks, convs):
    """The ResNets of ImageNet: four stages of 64 to 512 channels. [HZRS16, Table 1]"""

    def build(net):
        x = net.max_pool(stem(net, 64, 7, 2), 3, 2, 1)
        return net.classifier(residual_stages(net, x, blocks, 64, convs, project), 1000)

    return build, (3, 224, 224)


def tiny_resnet(blocks, convs):
    """The same for Tiny-ImageNet: the first convolution keeps all of its small images."""

    def build(net):
        x = residual_stages(net, stem(net, 64, 3), blocks, 64, convs, project)
        return net.classifier(x, 200)

    return build, (3, 64, 64)


def mlp():
    """784-128-128-10."""

    def build(net):
        x, edge_bits = net.flat(net.image()), net.arguments.edge_bits
        x = net.activated(net.dense(x, "dense1", 128, edge_bits), "dense1_act")
        x = net.activated(net.dense(x, "dense2", 128), "dense2_act", bits=edge_bits)
        return net.dense(x, "classifier", 10, edge_bits)

    return build, (1, 28, 28)


def vgg16():
    """Stages of 3x3 convolutions, three dense layers. [SZ15, Table 1, D]"""
    stages = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]

    def build(net):
        x, edge_bits = net.image(), net.arguments.edge_bits
        for stage, (channels, convs) in enumerate(stages, 1):
            for index in range(1, convs + 1):
                name = f"stage{stage}_conv{index}"
                bits = edge_bits if (stage, index) == (1, 1) else None
                x = net.activated(net.conv(x, name, channels, 3, bits=bits), name + "_act")
            x = net.max_pool(x, 2, 2)
        x = net.activated(net.dense(net.flat(x), "dense1", 4096), "dense1_act")
        x = net.activated(net.dense(x, "dense2", 4096), "dense2_act", bits=edge_bits)
        return net.dense(x, "classifier", 1000, edge_bits)

    return build, (3, 224, 224)


def squeezenet():
    """SqueezeNet 1.1: fire modules between poolings. [IHM+16, Section 3; sizes of release 1.1]"""
    stages = [[(16, 64)] * 2, [(32, 128)] * 2, [(48, 192)] * 2 + [(64, 256)] * 2]

    def fire(net, x, name, squeeze, expand, bits):
        x = net.activated(net.conv(x, name + "_squeeze", squeeze, 1), name + "_squeeze_act")
        halves = [net.conv(x, f"{name}_expand{kernel}", expand, kernel) for kernel in (1, 3)]
        return net.activated(halves, name + "_act", bits=bits)

    def build(net):
        x, edge_bits = stem(net, 64, 3, 2, pad=0), net.arguments.edge_bits
        for stage, modules in enumerate(stages, 1):
            x = net.max_pool(x, 3, 2)
            for index, (squeeze, expand) in enumerate(modules, 1):
                is_last = stage == len(stages) and index == len(modules)
                bits = edge_bits if is_last else None
                x = fire(net, x, f"stage{stage}_fire{index}", squeeze, expand, bits)
        x = net.conv(x, "classifier", 1000, 1, bits=edge_bits)
        return net.average(net.activated(x, "classifier_act", bits=edge_bits))

    return build, (3, 224, 224)


def mobilenet_v2():
    """Inverted residuals with linear bottlenecks, width 1.0. [SHZZC18, Table 2]"""
    rows = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]

    def block(net, x, name, expansion, channels, stride):
        y, hidden = x, expansion * x.shape[0]
        if expansion > 1:
            y = net.activated(net.conv(y, name + "_expand", hidden, 1), name + "_act1", "Relu6")
        y = net.conv(y, name + "_depthwise", hidden, 3, stride, groups=hidden)
        y = net.conv(net.activated(y, name + "_act2", "Relu6"), name + "_project", channels, 1)
        if stride == 1 and x.shape[0] == channels:
            y = net.add(y, x)
        return net.signed(y, name + "_out")

    def build(net):
        x = net.conv(net.image(), "stem", 32, 3, 2, bits=net.arguments.edge_bits)
        x = net.activated(x, "stem_act", "Relu6")
        for stage, (expansion, channels, blocks, first) in enumerate(rows):
            for index in range(blocks):
                stride = first if index == 0 else 1
                name = f"stage{stage + 1}_block{index + 1}"
                x = block(net, x, name, expansion, channels, stride)
        x = net.activated(net.conv(x, "head", 1280, 1), "head_act", "Relu6")
        return net.classifier(x, 1000)

    return build, (3, 224, 224)


ARCHITECTURES = {
    "mlp": mlp(),
    "mobilenetv2": mobilenet_v2(),
    "resnet18": imagenet_resnet([2, 2, 2, 2], basic),
    "resnet18_tiny": tiny_resnet([2, 2, 2, 2], basic),
    "resnet20": cifar_resnet(3),
    "resnet32": cifar_resnet(5),
    "resnet50": imagenet_resnet([3, 4, 6, 3], bottleneck),
    "squeezenet": squeezenet(),
    "vgg16": vgg16(),
}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    bits = range(2, 9)
    parser.add_argument("architecture", choices=sorted(ARCHITECTURES))
    parser.add_argument("--weight-bits", type=int, choices=bits, default=4)
    parser.add_argument("--activation-bits", type=int, choices=bits, default=4)
    edges = "bits of the input, of what the classifier reads, and of the first and last weights"
    parser.add_argument("--edge-bits", type=int, choices=bits, default=8, help=edges)
    kinds = "any scales, or powers of two"
    parser.add_argument("--scales", choices=["float", "po2"], default="float", help=kinds)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", required=True, metavar="FILE")
    return parser.parse_args()


def main():
    arguments = parse()
    build, input_shape = ARCHITECTURES[arguments.architecture]
    net = Builder(arguments.architecture, arguments, input_shape)
    onnx.save(net.finish(build(net)), arguments.output)


if __name__ == "__main__":
    main()
