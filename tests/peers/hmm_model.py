"""The GINC Transformer of the speed peer: its experts in several formulations, its model, its
optimizer step in eager and compiled modes (hmm_pytorch.py lists and times them)."""
import math

import torch
import torch._inductor.config as inductor
import torch.nn.functional as F

D, HEADS, HIDDEN, VOCABULARY, SEQ, BATCH = 64, 4, 32, 50, 64, 16
EXPERTS, P = 10, 0.7
LR, DECAY, SCHEDULE = 3e-3, 0.01, 3000


def make_experts():
    """The ways to compute sum_e weights[n, e] expert_e(x_n), all of the same arithmetic:
    functions of x [N, D], weights and kept [N, E], fc1 [E, H, D], b1 [E, H], fc2 [E, D, H],
    b2 [E, D] (fc2 [E, H, D] for `stacked`)."""

    def loop(x, weights, kept, fc1, b1, fc2, b2):
        """Each expert on its own tokens."""
        out = torch.zeros_like(x)
        for e in range(EXPERTS):
            token = kept[:, e].nonzero().squeeze(1)
            hidden = F.gelu(F.linear(x[token], fc1[e], b1[e]))
            y = F.linear(hidden, fc2[e], b2[e]) * weights[token, e, None]
            out = out.index_add(0, token, y)
        return out

    def stacked(x, weights, kept, fc1, b1, fc2, b2):
        """All experts on all tokens as two plain products: the weights go into the hidden units."""
        hidden = F.gelu(F.linear(x, fc1.view(EXPERTS * HIDDEN, D), b1.view(-1)))
        hidden = hidden.view(-1, EXPERTS, HIDDEN) * weights[:, :, None]
        return torch.addmm(weights @ b2, hidden.view(-1, EXPERTS * HIDDEN),
                           fc2.view(EXPERTS * HIDDEN, D))

    def bmm(x, weights, kept, fc1, b1, fc2, b2):
        """All experts on all tokens, batched over experts."""
        rows = x.expand(EXPERTS, -1, -1)
        hidden = F.gelu(torch.baddbmm(b1[:, None], rows, fc1.transpose(1, 2)))
        each = torch.baddbmm(b2[:, None], hidden, fc2.transpose(1, 2))
        return (each * weights.t()[:, :, None]).sum(0)

    def pairs(weights, kept):
        expert, token = kept.t().nonzero(as_tuple=True)
        return expert, token, weights[token, expert]

    def grouped(x, weights, kept, fc1, b1, fc2, b2):
        """Rows in expert order and PyTorch's grouped product."""
        expert, token, weight = pairs(weights, kept)
        ends = kept.sum(0).cumsum(0).int()
        hidden = F.grouped_mm(x[token], fc1.transpose(1, 2), offs=ends) + b1[expert]
        hidden = F.gelu(hidden) * weight[:, None]
        y = F.grouped_mm(hidden, fc2.transpose(1, 2), offs=ends)
        return (weights @ b2).index_add(0, token, y)

    def sorted_forward(x, weights, kept, fc1, b1, fc2, b2):
        """Rows in expert order, one product an expert into its slice."""
        expert, token, weight = pairs(weights, kept)
        counts = kept.sum(0).tolist()
        rows = x.index_select(0, token)
        before = torch.empty(len(token), HIDDEN)
        y = torch.empty(len(token), D)
        for e, (row, into) in enumerate(zip(rows.split(counts), before.split(counts))):
            torch.addmm(b1[e], row, fc1[e].t(), out=into)
        hidden = F.gelu(before)
        weighted = hidden * weight[:, None]
        for e, (row, into) in enumerate(zip(weighted.split(counts), y.split(counts))):
            torch.mm(row, fc2[e].t(), out=into)
        out = (weights @ b2).index_add_(0, token, y)
        return out, (expert, token, weight, rows, before, hidden, weighted, counts)

    def sorted_backward(dout, saved, weights, fc1, fc2, b2):
        expert, token, weight, rows, before, hidden, weighted, counts = saved
        dy = dout.index_select(0, token)
        dweighted, drows = torch.empty_like(before), torch.empty_like(rows)
        dfc1, dfc2 = torch.empty_like(fc1), torch.empty_like(fc2)
        slices = zip(dy.split(counts), weighted.split(counts), dweighted.split(counts))
        for e, (row, used, into) in enumerate(slices):
            torch.mm(row, fc2[e], out=into)
            torch.mm(row.t(), used, out=dfc2[e])
        dweights = dout @ b2.t()
        dweights[token, expert] += (dweighted * hidden).sum(1)
        dbefore = torch.ops.aten.gelu_backward(dweighted.mul_(weight[:, None]), before)
        db1 = torch.zeros(EXPERTS, HIDDEN).index_add_(0, expert, dbefore)
        slices = zip(dbefore.split(counts), rows.split(counts), drows.split(counts))
        for e, (row, used, into) in enumerate(slices):
            torch.mm(row, fc1[e], out=into)
            torch.mm(row.t(), used, out=dfc1[e])
        dx = torch.zeros_like(dout).index_add_(0, token, drows)
        return dx, dweights, dfc1, db1, dfc2, weights.t() @ dout

    class Sorted(torch.autograd.Function):
        """sorted_forward with the backward by hand."""

        @staticmethod
        def forward(ctx, x, weights, kept, fc1, b1, fc2, b2):
            out, ctx.saved = sorted_forward(x, weights, kept, fc1, b1, fc2, b2)
            ctx.save_for_backward(weights, fc1, fc2, b2)
            return out

        @staticmethod
        def backward(ctx, dout):
            dx, dweights, *rest = sorted_backward(dout, ctx.saved, *ctx.saved_tensors)
            return dx, dweights, None, *rest

    return {"loop": loop, "stacked": stacked, "bmm": bmm, "grouped": grouped,
            "sorted": Sorted.apply, "sorted_by_hand": (sorted_forward, sorted_backward)}


def make_weights(experts):
    normal = lambda *shape: torch.randn(shape) * 0.02
    uniform = lambda fan_in, *shape: (torch.rand(shape) * 2 - 1) / math.sqrt(fan_in)
    fc2_shape = (EXPERTS, HIDDEN, D) if experts == "stacked" else (EXPERTS, D, HIDDEN)
    weights = {
        "embedding": normal(VOCABULARY, D), "position": normal(SEQ, D),
        "ln1_w": torch.ones(D), "ln1_b": torch.zeros(D),
        "qkv_w": normal(3 * D, D), "qkv_b": torch.zeros(3 * D),
        "out_w": normal(D, D), "out_b": torch.zeros(D),
        "ln2_w": torch.ones(D), "ln2_b": torch.zeros(D),
        "gate": uniform(D, EXPERTS, D),
        "fc1": uniform(D, EXPERTS, HIDDEN, D), "b1": uniform(D, EXPERTS, HIDDEN),
        "fc2": uniform(HIDDEN, *fc2_shape), "b2": uniform(HIDDEN, EXPERTS, D),
        "ln_final_w": torch.ones(D), "ln_final_b": torch.zeros(D),
        "head": normal(VOCABULARY, D),
    }
    return {name: weight.requires_grad_() for name, weight in weights.items()}


def make_route(mode):
    """Top-p and MASS's `reference` weights: over the kept experts' sum for every token as soon as
    one token keeps two, else raw."""

    def kept_by_sorting(probs):
        ordered, order = probs.detach().sort(dim=1, descending=True)
        before = ordered.cumsum(1) - ordered
        return torch.zeros_like(probs, dtype=torch.bool).scatter_(1, order, before < P)

    def kept_by_comparing(probs):
        """The mass before expert j is that of the larger ones: no sort, which fuses."""
        r = probs.detach()
        before = torch.where(r[:, None, :] > r[:, :, None], r[:, None, :], 0.0).sum(2)
        return before < P

    kept_of = kept_by_sorting if mode == "eager" else kept_by_comparing

    def route(logits):
        probs = torch.softmax(logits, dim=1)
        kept = kept_of(probs)
        raw = probs * kept
        divisor = torch.where(kept.sum(1).max() > 1, raw.sum(1, keepdim=True), 1.0)
        return raw / divisor, kept

    return route


def make_loss(mixture, route):
    """The loss of windows [BATCH, SEQ + 1]: their first SEQ tokens are inputs, the last targets."""

    def trunk(w, tokens):
        """The residual stream and what the mixture needs: rows, combine weights, kept experts."""
        x = F.embedding(tokens, w["embedding"]) + w["position"]
        qkv = F.linear(F.layer_norm(x, (D,), w["ln1_w"], w["ln1_b"]), w["qkv_w"], w["qkv_b"])
        q, k, v = qkv.view(BATCH, SEQ, 3, HEADS, D // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        x = x + F.linear(mixed.reshape(BATCH, SEQ, D), w["out_w"], w["out_b"])
        x = x.view(BATCH * SEQ, D)
        rows = F.layer_norm(x, (D,), w["ln2_w"], w["ln2_b"])
        weights, kept = route(F.linear(rows, w["gate"]))
        return (x, rows, weights), kept

    def head(w, x, mixed, targets):
        x = F.layer_norm(x + mixed, (D,), w["ln_final_w"], w["ln_final_b"])
        return F.cross_entropy(F.linear(x, w["head"]), targets.reshape(-1))

    def loss(w, windows):
        (x, rows, weights), kept = trunk(w, windows[:, :-1])
        mixed = mixture(rows, weights, kept, w["fc1"], w["b1"], w["fc2"], w["b2"])
        return head(w, x, mixed, windows[:, 1:])

    loss.trunk, loss.head = trunk, head
    return loss


def make_optimizer(weights):
    decayed = [weight for weight in weights.values() if weight.dim() > 1]
    rest = [weight for weight in weights.values() if weight.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=LR, fused=True)


def eager_step(weights, loss_of):
    """PyTorch's fused AdamW after autograd's backward."""
    optimizer = make_optimizer(weights)

    def step(windows, lr):
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss = loss_of(weights, windows)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def sorted_gradients(loss_of, forward, backward):
    """As torch.func.grad_and_value(loss_of), with the sorted experts as two operations that the
    compiler does not look into: their sizes change at every step."""
    saved = []

    def run(x, weights, kept, fc1, b1, fc2, b2):
        out, intermediates = forward(x, weights, kept, fc1, b1, fc2, b2)
        saved.append(intermediates)
        return out

    def run_backward(dout, weights, fc1, fc2, b2):
        return backward(dout, saved.pop(), weights, fc1, fc2, b2)

    T = torch.Tensor
    run.__annotations__ = dict.fromkeys(("x", "weights", "kept", "fc1", "b1", "fc2", "b2"), T)
    run.__annotations__["return"] = T
    run_backward.__annotations__ = dict.fromkeys(("dout", "weights", "fc1", "fc2", "b2"), T)
    run_backward.__annotations__["return"] = tuple[T, T, T, T, T, T]
    experts = torch.library.custom_op("peer::experts", run, mutates_args=())
    experts.register_fake(lambda x, *rest: torch.empty_like(x))
    experts_backward = torch.library.custom_op("peer::experts_backward", run_backward,
                                               mutates_args=())
    experts_backward.register_fake(lambda dout, weights, fc1, fc2, b2: (
        torch.empty_like(dout), torch.empty_like(weights), torch.empty_like(fc1),
        fc1.new_empty(EXPERTS, HIDDEN), torch.empty_like(fc2), torch.empty_like(b2)))

    def gradients(w, windows):
        run_trunk = lambda w: loss_of.trunk(w, windows[:, :-1])
        (x, rows, weights), trunk_back, kept = torch.func.vjp(run_trunk, w, has_aux=True)
        mixed = experts(rows, weights, kept, w["fc1"], w["b1"], w["fc2"], w["b2"])
        run_head = lambda w, x, mixed: loss_of.head(w, x, mixed, windows[:, 1:])
        loss, head_back = torch.func.vjp(run_head, w, x, mixed)
        from_head, dx, dmixed = head_back(torch.ones_like(loss))
        drows, dweights, *of_experts = experts_backward(dmixed, weights, w["fc1"], w["fc2"],
                                                        w["b2"])
        (from_trunk,) = trunk_back((dx, drows, dweights))
        both = {name: from_trunk[name] + from_head[name] for name in w}
        both.update(zip(("fc1", "b1", "fc2", "b2"), of_experts))
        return both, loss

    return gradients


def whole_step(weights, gradients_of):
    """Loss, gradients and AdamW as one function of tensors, for the compiler."""
    weights = {name: weight.detach() for name, weight in weights.items()}
    first = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    second = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    b1, b2, eps = 0.9, 0.999, 1e-8
    count = 0

    def graph(windows, rates):
        gradients, loss = gradients_of(weights, windows)
        lr, correction1, correction2 = rates.unbind()
        for name, weight in weights.items():
            gradient, m, v = gradients[name], first[name], second[name]
            if weight.dim() > 1:
                weight.mul_(1.0 - lr * DECAY)
            m.lerp_(gradient, 1.0 - b1)
            v.mul_(b2).addcmul_(gradient, gradient, value=1.0 - b2)
            weight.sub_(lr * (m / correction1) / ((v / correction2).sqrt() + eps))
        return loss

    compiled = torch.compile(graph)

    def step(windows, lr):
        nonlocal count
        count += 1
        rates = torch.tensor([lr, 1.0 - b1**count, 1.0 - b2**count])
        if count == 3:  # compiled by now, and nothing changes but values
            torch.compiler.set_stance(skip_guard_eval_unsafe=True)
        with torch.no_grad():
            return compiled(windows, rates)

    return step


def make_step(variant):
    mode = variant["mode"]
    weights = make_weights(variant["experts"])
    loss_of = make_loss(make_experts()[variant["experts"]], make_route(mode))
    if mode == "eager":
        return eager_step(weights, loss_of)
    if mode == "compile":
        return eager_step(weights, torch.compile(loss_of))
    inductor.cpp_wrapper = mode in ("cpp", "autotune")
    inductor.max_autotune = mode == "autotune"
    if variant["experts"] == "sorted":
        by_hand = make_experts()["sorted_by_hand"]
        return whole_step(weights, sorted_gradients(loss_of, *by_hand))
    return whole_step(weights, torch.func.grad_and_value(loss_of))


def train(variant, windows, seed, steps):
    """Yields the loss after each step."""
    torch.manual_seed(seed)
    step_of = make_step(variant)
    documents, positions = windows.shape[:2]
    for step in range(steps):
        picked = torch.randint(documents * positions, (BATCH,))
        batch = windows[picked // positions, picked % positions]
        yield step_of(batch, LR * 0.5 * (1.0 + math.cos(math.pi * step / SCHEDULE)))
