"""The MoE MLP of `offshoot-bench moe-cuda` in PyTorch on a CUDA device: gather, two grouped
products with GELU, combine; forward and backward in bf16. Without biases, which grouped_mm lacks.

The experts' weights are float32 and rounded in every call, as ours are, or bf16 to begin with.
Gather and combine have their backward passes by hand: what autograd makes of indexing is slower.
One line a variant, then the rate of a plain bf16 product of the same run.
"""

import argparse
import statistics

import torch
import torch.nn.functional as F

TOKENS, FEATURES, HIDDEN, TOP_K = 16384, 1024, 4096, 3
SQUARE = 8192
ROW_MULTIPLE = 128  # groups are padded to it, as wgmma's tiles want

grouped_mm = getattr(F, "grouped_mm", None) or torch._grouped_mm


def seconds(work):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    out = work()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) * 1e-3, out


def routing(experts):
    """Token of each padded row, row of each pair, weight of each pair, ends of the groups."""
    weights, chosen = torch.randn(TOKENS, experts, device="cuda").softmax(-1).topk(TOP_K)
    weights = (weights / weights.sum(-1, keepdim=True)).bfloat16()
    expert = chosen.flatten()
    order = expert.argsort(stable=True)
    counts = expert.bincount(minlength=experts)
    padded = (counts + ROW_MULTIPLE - 1) // ROW_MULTIPLE * ROW_MULTIPLE
    ends = padded.cumsum(0)
    rank = torch.arange(order.numel(), device="cuda") - (counts.cumsum(0) - counts)[expert[order]]
    row = (ends - padded)[expert[order]] + rank
    token = torch.zeros(int(ends[-1]), dtype=torch.long, device="cuda")
    token[row] = order // TOP_K
    row_of_pair = torch.empty_like(row)
    row_of_pair[order] = row
    return token, row_of_pair, weights, ends.int()


class Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, token, row_of_pair):
        ctx.save_for_backward(row_of_pair)
        return x[token]

    @staticmethod
    def backward(ctx, drows):
        (row_of_pair,) = ctx.saved_tensors
        return drows[row_of_pair].view(TOKENS, TOP_K, -1).sum(1), None, None


class Combine(torch.autograd.Function):
    """The weights' gradients are left out: routing is given."""

    @staticmethod
    def forward(ctx, rows, row_of_pair, weights):
        ctx.save_for_backward(row_of_pair, weights)
        ctx.rows = rows.shape[0]
        return torch.einsum("nkd,nk->nd", rows[row_of_pair].view(TOKENS, TOP_K, -1), weights)

    @staticmethod
    def backward(ctx, dout):
        row_of_pair, weights = ctx.saved_tensors
        drows = torch.zeros(ctx.rows, dout.shape[1], dtype=dout.dtype, device=dout.device)
        drows[row_of_pair] = (dout[:, None] * weights[..., None]).flatten(0, 1)
        return drows, None, None


def layer(x, fc1_weight, fc2_weight, token, row_of_pair, weights, ends):
    rows = Gather.apply(x, token, row_of_pair)
    hidden = F.gelu(grouped_mm(rows, fc1_weight.bfloat16().transpose(-2, -1), offs=ends))
    out = grouped_mm(hidden, fc2_weight.bfloat16().transpose(-2, -1), offs=ends)
    return Combine.apply(out, row_of_pair, weights)


def measure(name, function, experts, dtype, rounds, rate):
    def drawn(*shape, deviation):
        return (torch.randn(*shape, device="cuda") * deviation).to(dtype).requires_grad_()

    x = torch.randn(TOKENS, FEATURES, device="cuda").bfloat16().requires_grad_()
    dy = torch.randn(TOKENS, FEATURES, device="cuda").bfloat16()
    parameters = (drawn(experts, HIDDEN, FEATURES, deviation=0.03),
                  drawn(experts, FEATURES, HIDDEN, deviation=0.015))
    plan = routing(experts)
    forward, backward = [], []
    for i in range(rounds + 3):
        for tensor in (x, *parameters):
            tensor.grad = None
        there, out = seconds(lambda: function(x, *parameters, *plan))
        back, _ = seconds(lambda: out.backward(dy))
        if i >= 3:
            forward.append(there)
            backward.append(back)
    f, b = statistics.median(forward), statistics.median(backward)
    tflop = 2e-12 * TOKENS * TOP_K * FEATURES * HIDDEN
    print(f"{experts:3d} experts  {name:8s} weights {str(dtype)[6:]:8s}  forward {1e3 * f:6.2f} ms"
          f"  backward {1e3 * b:6.2f} ms  {2 * tflop / f:4.0f} and {4 * tflop / b:4.0f} TFLOP/s"
          f"  {100 * 6 * tflop / (f + b) / rate:5.1f} %", flush=True)


def product_rate(rounds):
    a = torch.randn(SQUARE, SQUARE, device="cuda").bfloat16()
    b = torch.randn(SQUARE, SQUARE, device="cuda").bfloat16()
    a @ b
    return 2e-12 * SQUARE**3 / statistics.median(seconds(lambda: a @ b)[0] for _ in range(rounds))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--compile", action="store_true", help="also compiled")
    options = parser.parse_args()
    torch.manual_seed(1)
    rate = product_rate(options.rounds)
    for experts in (16, 64):
        for dtype in (torch.float32, torch.bfloat16):
            measure("eager", layer, experts, dtype, options.rounds, rate)
            if options.compile:
                measure("compiled", torch.compile(layer), experts, dtype, options.rounds, rate)
    print(f"PyTorch {torch.__version__} on {torch.cuda.get_device_name()}; a bf16 product of "
          f"{SQUARE}^3 ran at {rate:.0f} TFLOP/s")


if __name__ == "__main__":
    main()
