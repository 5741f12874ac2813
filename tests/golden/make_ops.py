#!/usr/bin/env python3
"""Makes ops.h5: golden values and gradients of every operation but the routed ones, by PyTorch."""
import os

import torch
import torch.nn.functional as F

from golden_writer import FLOAT, GoldenWriter, away_from, draw_until, ints, normal, single, uniform
from routed_ops import routed_cases

MARGIN = 0.01


def binary_cases(writer):
    shapes = {
        "same": ((3, 5), (3, 5)),
        "row": ((2, 3, 7), (7,)),
        "ones": ((4, 1, 5), (4, 3, 1)),
        "scalar": ((5, 3), (1,)),
    }
    functions = {
        "add": torch.add,
        "sub": torch.sub,
        "mul": torch.mul,
        "div": torch.div,
        "maximum": torch.maximum,
    }
    for op, function in functions.items():
        for name, (a_shape, b_shape) in shapes.items():

            def make():
                a, b = normal(*a_shape), normal(*b_shape)
                if op == "div":
                    b = single(b.sign() * (b.abs() + 0.5))
                return {"a": a, "b": b}

            apart = lambda drawn: bool(((drawn["a"] - drawn["b"]).abs() > MARGIN).all())
            writer.case(op, name, lambda: draw_until(make, apart), lambda a, b: function(a, b))
    for name, (a_shape, b_shape) in {"same": shapes["same"], "row": shapes["row"]}.items():
        make = lambda: {
            "condition": (torch.rand(a_shape) < 0.5).to(torch.int32),
            "a": normal(*a_shape),
            "b": normal(*b_shape),
        }
        where = lambda condition, a, b: torch.where(condition != 0, a, b)
        writer.case("where", name, make, where)


def unary_cases(writer):
    anything = lambda: {"x": normal(3, 7)}
    large = lambda: {"x": normal(2, 1, 37, scale=3.0)}
    positive = lambda: {"x": uniform(0.1, 4.0, 3, 7)}
    kinked = lambda: {"x": away_from(normal(2, 1, 37), [0.0])}
    functions = {
        "neg": (anything, torch.neg),
        "exp": (anything, torch.exp),
        "log": (positive, torch.log),
        "sqrt": (positive, torch.sqrt),
        "square": (anything, torch.square),
        "abs": (kinked, torch.abs),
        "relu": (kinked, F.relu),
        "gelu_erf": (large, F.gelu),
        "gelu_tanh": (large, lambda x: F.gelu(x, approximate="tanh")),
        "silu": (large, F.silu),
        "tanh": (large, torch.tanh),
        "sigmoid": (large, torch.sigmoid),
    }
    for op, (make, function) in functions.items():
        writer.case(op, "a", make, lambda x: function(x))
    writer.case("scale", "a", anything, lambda x, factor: x * factor, {"factor": -0.375})
    bounds = {"low": -0.5, "high": 0.75}
    make = lambda: {"x": away_from(normal(2, 1, 37), list(bounds.values()))}
    writer.case("clamp", "a", make, lambda x, low, high: x.clamp(low, high), bounds)


def no_ties(axis):
    def accept(drawn):
        x = drawn["x"].flatten() if axis is None else drawn["x"]
        sorted_x = x.sort(dim=-1 if axis is None else axis)[0]
        gaps = sorted_x.diff(dim=-1 if axis is None else axis)
        return bool((gaps.abs() > 0.002).all())

    return accept


def reduction_cases(writer):
    functions = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax}
    for op, function in functions.items():
        make = lambda: {"x": normal(3, 5)}
        tied = lambda: draw_until(make, no_ties(None))
        writer.case(op, "whole", tied, lambda x: function(x, dim=tuple(range(x.dim()))))
        for axis, keepdim in ((0, 0), (1, 0), (1, 1), (2, 0)):
            make = lambda: {"x": normal(3, 4, 5)}
            tied = lambda: draw_until(make, no_ties(axis))
            name = f"axis{axis}_keepdim" if keepdim else f"axis{axis}"
            along = lambda x, axis, keepdim: function(x, dim=axis, keepdim=bool(keepdim))
            writer.case(op, name, tied, along, {"axis": axis, "keepdim": keepdim})
    for axis in range(3):
        make = lambda: draw_until(lambda: {"x": normal(3, 4, 5)}, no_ties(axis))
        argmax = lambda x, axis: x.argmax(dim=axis)
        writer.case("argmax", f"axis{axis}", make, argmax, {"axis": axis}, no_gradient=True)


def product_cases(writer):
    cases = {
        "plain": ((3, 5), (5, 7), 0, 0),
        "row": ((1, 5), (5, 1), 0, 0),
        "transpose_a": ((5, 3), (5, 7), 1, 0),
        "transpose_b": ((3, 5), (7, 5), 0, 1),
        "transpose_both": ((5, 3), (7, 5), 1, 1),
        "batched": ((2, 3, 5), (2, 5, 4), 0, 0),
        "batched_transpose_a": ((2, 5, 3), (2, 5, 4), 1, 0),
        "batched_transpose_b": ((2, 3, 3, 5), (2, 3, 4, 5), 0, 1),
    }

    def matmul(a, b, transpose_a, transpose_b, bias=None):
        a = a.transpose(-1, -2) if transpose_a else a
        b = b.transpose(-1, -2) if transpose_b else b
        return a @ b if bias is None else a @ b + bias

    for name, (a_shape, b_shape, transpose_a, transpose_b) in cases.items():
        config = {"transpose_a": transpose_a, "transpose_b": transpose_b}
        make = lambda: {"a": normal(*a_shape), "b": normal(*b_shape)}
        writer.case("matmul", name, make, matmul, config)
        if name in ("plain", "transpose_b", "batched"):
            columns = b_shape[-2] if transpose_b else b_shape[-1]
            make = lambda: {"a": normal(*a_shape), "b": normal(*b_shape), "bias": normal(columns)}
            writer.case("matmul", name + "_bias", make, matmul, config)

    for name, shape in {"rows": (5,), "batch": (2, 3)}.items():
        make = lambda: {"x": normal(*shape, 7), "weight": normal(4, 7), "bias": normal(4)}
        writer.case("linear", name, make, lambda x, weight, bias: F.linear(x, weight, bias))
    make = lambda: {"x": normal(6, 7), "weight": normal(4, 7)}
    writer.case("linear", "no_bias", make, lambda x, weight: F.linear(x, weight))


def softmax_cases(writer):
    for name, shape in {"rows": (5, 7), "batch": (2, 3, 17)}.items():
        make = lambda: {"x": normal(*shape, scale=2.0)}
        writer.case("softmax", name, make, lambda x: F.softmax(x, dim=-1))
        writer.case("log_softmax", name, make, lambda x: F.log_softmax(x, dim=-1))

    def loss(logits, targets, ignore_index):
        classes = logits.shape[-1]
        flat = logits.reshape(-1, classes), targets.reshape(-1).long()
        return F.cross_entropy(*flat, ignore_index=ignore_index)

    make = lambda: {"logits": normal(5, 7, scale=2.0), "targets": ints([3, 0, 6, 6, 1])}
    writer.case("cross_entropy", "rows", make, loss, {"ignore_index": -100})
    targets = [[3, 10, -100], [-100, 0, 7]]
    make = lambda: {"logits": normal(2, 3, 11, scale=2.0), "targets": ints(targets)}
    writer.case("cross_entropy", "ignored", make, loss, {"ignore_index": -100})


def layer_cases(writer):
    norm = lambda x, weight, bias, eps: F.layer_norm(x, weight.shape, weight, bias, eps)
    for name, shape, eps in (("rows", (5, 7), 1e-5), ("batch", (2, 3, 33), 1e-12)):
        make = lambda: {
            "x": single(normal(*shape, scale=2.0) + 0.5),
            "weight": single(normal(shape[-1]) + 1.0),
            "bias": normal(shape[-1]),
        }
        writer.case("layer_norm", name, make, norm, {"eps": eps})

    make = lambda: {"weight": normal(7, 5), "tokens": ints([[2, 6, 2, 0], [0, 2, 5, 3]])}
    embed = lambda weight, tokens: F.embedding(tokens.long(), weight)
    writer.case("embedding", "repeated", make, embed)


def attention(q, k, v, causal, keys=None):
    """Scaled dot products; `keys` [B, T] is 1 where a key may be looked at."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    hidden = torch.zeros_like(scores, dtype=torch.bool)
    if causal:
        hidden |= torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    if keys is not None:
        hidden |= (keys == 0)[:, None, None, :]
    return F.softmax(scores.masked_fill(hidden, float("-inf")), dim=-1) @ v


def attention_cases(writer):
    def make(tokens, keys=None):
        drawn = {name: normal(2, 3, tokens, 5) for name in ("q", "k", "v")}
        return drawn if keys is None else {**drawn, "keys": ints(keys)}

    for name, causal, tokens in (("full", 0, 7), ("causal", 1, 7), ("one_token", 1, 1)):
        writer.case("attention", name, lambda: make(tokens), attention, {"causal": causal})
    keys = [[1, 1, 1, 1, 1, 0, 0], [1, 1, 0, 1, 1, 1, 1]]
    writer.case("attention", "padded", lambda: make(7, keys), attention, {"causal": 0})
    writer.case("attention", "causal_padded", lambda: make(7, keys), attention, {"causal": 1})


def layout_cases(writer):
    x = lambda: {"x": normal(3, 4, 5)}
    take = lambda x, axis, first, count: x.narrow(axis, first, count)
    for axis, first, count in ((0, 1, 2), (1, 3, 1), (2, 1, 3)):
        config = {"axis": axis, "first": first, "count": count}
        writer.case("slice", f"axis{axis}", x, take, config)
    reshape = lambda x, shape: x.reshape(tuple(shape))
    writer.case("reshape", "a", x, reshape, {"shape": [6, 10]})
    transpose = lambda x, axis_a, axis_b: x.transpose(axis_a, axis_b)
    for a, b in ((0, 1), (1, 2), (0, 2)):
        writer.case("transpose", f"axes{a}{b}", x, transpose, {"axis_a": a, "axis_b": b})

    sizes = {"a": 1, "b": 4, "c": 2}
    for axis in range(3):
        part = lambda size: normal(*[size if i == axis else 3 for i in range(3)])
        make = lambda: {key: part(size) for key, size in sizes.items()}
        concat = lambda a, b, c, axis: torch.cat([a, b, c], dim=axis)
        writer.case("concat", f"axis{axis}", make, concat, {"axis": axis})
        make = lambda: {key: normal(3, 5) for key in sizes}
        stack = lambda a, b, c, axis: torch.stack([a, b, c], dim=axis)
        writer.case("stack", f"axis{axis}", make, stack, {"axis": axis})

    index = lambda values: ints(values, torch.int64)
    make = lambda: {"x": normal(5, 3), "index": index([4, 0, 0, 2, 4, 4, 1])}
    writer.case("gather_rows", "repeated", make, lambda x, index: x[index])
    make = lambda: {"x": normal(7, 3), "index": index([4, 0, 0, 2, 4, 4, 1])}
    scatter = lambda x, index, rows: torch.zeros(rows, 3, dtype=FLOAT).index_add(0, index, x)
    writer.case("scatter_rows", "repeated", make, scatter, {"rows": 6})


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    writer = GoldenWriter(os.path.join(here, "ops.h5"))
    for cases in (binary_cases, unary_cases, reduction_cases, product_cases, softmax_cases,
                  layer_cases, attention_cases, layout_cases, routed_cases):
        cases(writer)
    writer.close()


if __name__ == "__main__":
    main()
