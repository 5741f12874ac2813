"""Golden cases of what a mixture of experts is made of: routing, grouped products, its losses."""
import torch
import torch.nn.functional as F

from golden_writer import FLOAT, draw_until, ints, normal, single

MARGIN = 2e-3


def kept_topk(probs, k):
    """The k most probable experts of each token, as a mask [N, E]."""
    kept = torch.zeros_like(probs, dtype=torch.bool)
    return kept.scatter(1, probs.topk(k, dim=1)[1], True)


def kept_topp(probs, p):
    """Keeps an expert while the probability mass before it, in falling order, is below p."""
    if p == 1.0:
        return torch.ones_like(probs, dtype=torch.bool)
    ordered, order = probs.sort(dim=1, descending=True, stable=True)
    before = ordered.cumsum(1) - ordered
    return torch.zeros_like(probs, dtype=torch.bool).scatter(1, order, before < p)


def combine_weights(probs, kept, weights):
    """`weights`: raw; kept (renormalised over the kept); reference, MASS's public code: over the
    kept for every token if any token of the batch keeps two or more experts, else raw."""
    raw = probs * kept
    if weights == "raw":
        return raw
    if weights == "reference" and int(kept.sum(1).max()) < 2:
        return raw
    return raw / raw.sum(1, keepdim=True)


def route(probs, policy, weights, k=0, p=0.0):
    kept = kept_topk(probs, k) if policy == "topk" else kept_topp(probs, p)
    return kept, combine_weights(probs, kept, weights)


def clear_border(probs, p=None):
    """No two probabilities of a token nearly equal, and no running sum nearly p."""
    ordered = probs.sort(dim=1, descending=True)[0]
    clear = (ordered.diff(dim=1).abs() > MARGIN).all()
    if p is not None and p != 1.0:
        clear &= ((ordered.cumsum(1) - p).abs() > MARGIN).all()
    return bool(clear)


POLICIES = {
    "top1_raw": {"policy": "topk", "k": 1, "weights": "raw"},
    "top2_raw": {"policy": "topk", "k": 2, "weights": "raw"},
    "top2_kept": {"policy": "topk", "k": 2, "weights": "kept"},
    "top5_kept": {"policy": "topk", "k": 5, "weights": "kept"},
    "topp30_raw": {"policy": "topp", "p": 0.3, "weights": "raw"},
    "topp70_kept": {"policy": "topp", "p": 0.7, "weights": "kept"},
    "topp70_reference": {"policy": "topp", "p": 0.7, "weights": "reference"},
    "topp01_reference_single": {"policy": "topp", "p": 0.01, "weights": "reference"},
    "topp100_reference": {"policy": "topp", "p": 1.0, "weights": "reference"},
}


def routing_cases(writer, tokens=7, experts=5):
    def outputs(probs, kept, weights):
        return {"weights": weights, "kept": kept.to(torch.int32), "probs": probs,
                "counts": kept.sum(0)}

    for name, config in POLICIES.items():
        p = config.get("p")

        def draw():
            return {"logits": normal(tokens, experts, scale=1.5)}

        def from_logits(logits, **how):
            probs = F.softmax(logits, dim=1)
            return outputs(probs, *route(probs, **how))

        def from_probs(probs, **how):
            return outputs(probs, *route(probs, **how))

        clear = lambda drawn: clear_border(F.softmax(drawn["logits"], dim=1), p)
        make = lambda: draw_until(draw, clear)
        if name in ("top1_raw", "top2_kept", "topp70_reference"):
            writer.case("router", name, make, from_logits, config)
        make = lambda: {"probs": single(F.softmax(draw_until(draw, clear)["logits"], dim=1))}
        writer.case("route", name, make, from_probs, config)


def moe(x, gate_weight, fc1_weight, fc1_bias, fc2_weight, fc2_bias, **how):
    """Every expert on every token, then weighted: the plain definition."""
    probs = F.softmax(x @ gate_weight.T, dim=1)
    kept, weights = route(probs, **how)
    hidden = F.gelu(torch.einsum("nd,ehd->neh", x, fc1_weight) + fc1_bias)
    each = torch.einsum("neh,edh->ned", hidden, fc2_weight) + fc2_bias
    return {"out": (weights[:, :, None] * each).sum(1), "weights": weights, "probs": probs,
            "kept": kept.to(torch.int32), "counts": kept.sum(0)}


def moe_cases(writer, tokens=11, d=6, hidden=5, experts=4):
    def draw(count):
        return {
            "x": normal(count, d),
            "gate_weight": normal(experts, d),
            "fc1_weight": normal(experts, hidden, d, scale=0.5),
            "fc1_bias": normal(experts, hidden, scale=0.5),
            "fc2_weight": normal(experts, d, hidden, scale=0.5),
            "fc2_bias": normal(experts, d, scale=0.5),
        }

    def routed(drawn, config):
        probs = F.softmax(drawn["x"] @ drawn["gate_weight"].T, dim=1)
        kept, _ = route(probs, **config)
        return clear_border(probs, config.get("p")), kept.sum(0)

    def full(drawn, config):
        clear, counts = routed(drawn, config)
        return clear and bool((counts > 0).all())

    def with_empty_expert(drawn, config):
        clear, counts = routed(drawn, config)
        return clear and int((counts == 0).sum()) == 1

    cases = {
        "top1_raw": ("top1_raw", tokens, full),
        "top2_kept": ("top2_kept", tokens, full),
        "top2_kept_empty_expert": ("top2_kept", 5, with_empty_expert),
        "top1_raw_empty_expert": ("top1_raw", tokens, with_empty_expert),
        "topp70_reference": ("topp70_reference", tokens, full),
        "topp70_reference_empty_expert": ("topp70_reference", 5, with_empty_expert),
        "topp01_reference_one_token": ("topp01_reference_single", 1,
                                       lambda drawn, config: routed(drawn, config)[0]),
    }
    for name, (policy, count, accept) in cases.items():
        config = POLICIES[policy]
        make = lambda: draw_until(lambda: draw(count), lambda drawn: accept(drawn, config))
        writer.case("moe", name, make, moe, config)


def grouped_gemm(x, weight, offsets, gelu, bias=None):
    rows = []
    for e in range(weight.shape[0]):
        out = x[offsets[e]:offsets[e + 1]] @ weight[e].T
        rows.append(out if bias is None else out + bias[e])
    out = torch.cat(rows)
    return F.gelu(out) if gelu else out


def grouped_gemm_cases(writer, d=5, h=7):
    groupings = {"uneven": [0, 3, 3, 4, 11], "one_expert_has_all": [0, 0, 5, 5], "one_row": [0, 1]}
    for name, offsets in groupings.items():
        for bias, gelu in ((0, 0), (1, 0), (0, 1), (1, 1)) if name == "uneven" else ((1, 1),):

            def make():
                experts = len(offsets) - 1
                drawn = {"x": normal(offsets[-1], d), "weight": normal(experts, h, d)}
                drawn["offsets"] = ints(offsets, torch.int64)
                if bias:
                    drawn["bias"] = normal(experts, h)
                return drawn

            case = name + ("_bias" if bias else "") + ("_gelu" if gelu else "")
            writer.case("grouped_gemm", case, make, grouped_gemm, {"gelu": gelu})


def loss_cases(writer, tokens=7, experts=5):
    def balance(probs):
        """GShard and Switch: K sum_k m_k c_k, c (share of first choices) without gradient."""
        first = F.one_hot(probs.argmax(1), experts).to(FLOAT).mean(0)
        return experts * (probs.mean(0) * first).sum()

    draw = lambda: {"probs": single(F.softmax(normal(tokens, experts), dim=1))}
    make = lambda: draw_until(draw, lambda drawn: clear_border(drawn["probs"]))
    writer.case("load_balance_loss", "a", make, balance)

    make = lambda: {"logits": normal(tokens, experts, scale=2.0)}
    writer.case("router_z_loss", "a", make, lambda logits: logits.logsumexp(1).square().mean())

    def cosines(rows, first, second):
        return F.cosine_similarity(rows[first], rows[second], dim=1, eps=0.0)

    pairs = {"one_pair": ([1], [3]), "shared_row": ([0, 0, 2], [1, 3, 3])}
    for name, (first, second) in pairs.items():
        make = lambda: {"rows": normal(4, 6), "first": ints(first, torch.int64),
                        "second": ints(second, torch.int64)}
        writer.case("cosine_rows", name, make, cosines)
        loss = lambda **pair: cosines(**pair).square().mean()
        writer.case("redundancy_loss", name + "_mean", make, loss)
        loss = lambda **pair: cosines(**pair).square().sum()
        writer.case("redundancy_loss", name + "_sum", make, loss)


def expert_stats(grad, weight):
    """Norm of each expert's gradient, its cosine with the weight, and each gradient row's
    component along its weight row."""
    flat_grad, flat_weight = grad.flatten(1), weight.flatten(1)
    along = (grad * weight).sum(-1, keepdim=True) / (weight.square().sum(-1, keepdim=True) + 1e-12)
    return {"norm": flat_grad.norm(dim=1),
            "cosine": F.cosine_similarity(flat_grad, flat_weight, dim=1, eps=0.0),
            "projection": along * weight}


def routed_cases(writer):
    routing_cases(writer)
    moe_cases(writer)
    grouped_gemm_cases(writer)
    loss_cases(writer)
    make = lambda: {"grad": normal(3, 5, 7, scale=0.1), "weight": normal(3, 5, 7)}
    writer.case("expert_stats", "a", make, expert_stats, no_gradient=True)
