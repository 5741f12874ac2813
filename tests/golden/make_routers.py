#!/usr/bin/env python3
"""Makes routers_models.h5: mixtures of experts with sigmoid gating, routing by cosine, top-any
routing and a shared expert, and short top-any runs in which an expert goes or comes, by PyTorch in
float64."""
import math
import os

import torch
import torch.nn.functional as F

from golden_writer import FLOAT, GoldenWriter, draw_until, normal, single
from routed_ops import MARGIN, combine_weights, kept_topk, kept_topp
from top_any_run import adaptation_runs, auxiliary_loss, cosines, factor, top_any

TOKENS, D, HIDDEN, EXPERTS, SHARED, PROJECTED = 13, 6, 5, 4, 3, 7


def mlp(x, weights, prefix=""):
    hidden = F.gelu(F.linear(x, weights[prefix + "fc1.weight"], weights[prefix + "fc1.bias"]))
    return F.linear(hidden, weights[prefix + "fc2.weight"], weights[prefix + "fc2.bias"])


def each_expert(x, weights):
    """[N, E, D]: every expert on every token."""
    hidden = torch.einsum("nd,ehd->neh", x, weights["fc1.weight"]) + weights["fc1.bias"]
    return torch.einsum("neh,edh->ned", F.gelu(hidden), weights["fc2.weight"]) + weights["fc2.bias"]


def scores_of(x, weights, router):
    """Scores [N, E]."""
    if router == "cosine":
        projected = F.linear(x, weights["gate.projection.weight"], weights["gate.projection.bias"])
        return F.softmax(cosines(projected, weights["gate.weight"]) * factor(weights), dim=1)
    logits = F.linear(x, weights["gate.weight"], weights.get("gate.bias"))
    return torch.sigmoid(logits) if router == "sigmoid" else F.softmax(logits, dim=1)


def route(x, weights, router, train, k=0, p=0.0, combine="kept"):
    """Scores, what they must exceed (None but for top-any) and dense combine weights."""
    if router == "top_any":
        return top_any(x, weights, train)
    scores = scores_of(x, weights, router)
    kept = kept_topk(scores, k) if k else kept_topp(scores, p)
    return scores, None, combine_weights(scores, kept, combine)


def layer(x, dout, router, auxiliary=0.0, **rest):
    how = {key: rest.pop(key) for key in ("k", "p", "combine") if key in rest}
    weights = rest

    def out(combined):
        y = (combined[:, :, None] * each_expert(x, weights)).sum(1)
        return y + mlp(x, weights, "shared.") if "shared.fc1.weight" in weights else y

    scores, thresholds, combined = route(x, weights, router, True, **how)
    y = out(combined)
    loss = (y * dout).sum()
    outputs = {"y": y, "scores": scores, "weights": combined}
    if thresholds is not None:
        extra = auxiliary_loss(weights["gate.weight"])
        loss = loss + auxiliary * extra
        outputs["auxiliary"] = extra
        outputs["thresholds"] = thresholds
        outputs["y_evaluated"] = out(route(x, weights, router, False)[2])
    return {"loss": loss, **outputs}


def draw(router, temperature=None, bias=False, shared=False):
    drawn = {"x": normal(TOKENS, D), "dout": normal(TOKENS, D),
             "fc1.weight": normal(EXPERTS, HIDDEN, D, scale=0.5),
             "fc1.bias": normal(EXPERTS, HIDDEN, scale=0.5),
             "fc2.weight": normal(EXPERTS, D, HIDDEN, scale=0.5),
             "fc2.bias": normal(EXPERTS, D, scale=0.5),
             "gate.weight": normal(EXPERTS, PROJECTED if router == "cosine" else D)}
    if router == "cosine":
        drawn["gate.projection.weight"] = normal(PROJECTED, D, scale=0.5)
        drawn["gate.projection.bias"] = normal(PROJECTED, scale=0.5)
    if router == "top_any":
        drawn["gate.threshold"] = normal(EXPERTS, scale=0.02 if temperature else 0.3)
    if temperature is not None:
        drawn["gate.temperature"] = single(torch.tensor([temperature], dtype=FLOAT))
    if bias:
        drawn["gate.bias"] = normal(EXPERTS, scale=0.5)
    if shared:
        drawn["shared.fc1.weight"] = normal(SHARED, D, scale=0.5)
        drawn["shared.fc1.bias"] = normal(SHARED, scale=0.5)
        drawn["shared.fc2.weight"] = normal(D, SHARED, scale=0.5)
        drawn["shared.fc2.bias"] = normal(D, scale=0.5)
    return drawn


def clear(drawn, config):
    """Away from where another set would be kept; of top-any, tokens with 0, 1 and more experts."""
    weights = {key: value for key, value in drawn.items() if key not in ("x", "dout")}
    router = config["router"]
    if router == "top_any":
        scores, thresholds, _ = top_any(drawn["x"], weights, True)
        counts = (scores > thresholds).sum(1)
        best = scores.sort(dim=1, descending=True)[0].log()
        return bool(((scores - thresholds).abs() > MARGIN).all() and (counts == 0).any() and
                    (counts == 1).any() and (counts > 1).any() and
                    (best[:, 0] - best[:, 1] > MARGIN)[counts == 0].all())
    ordered = scores_of(drawn["x"], weights, router).sort(dim=1, descending=True)[0]
    if "p" in config:
        return bool(((ordered.cumsum(1) - config["p"]).abs() > MARGIN).all())
    logs = ordered.log()
    return bool((logs[:, config["k"] - 1] - logs[:, config["k"]] > MARGIN).all())


CASES = {
    "softmax_shared": ({"router": "softmax", "k": 2, "combine": "kept"}, {"shared": True}),
    "sigmoid_top1": ({"router": "sigmoid", "k": 1, "combine": "raw"}, {}),
    "sigmoid_top2": ({"router": "sigmoid", "k": 2, "combine": "kept"}, {}),
    "sigmoid_top3_bias_shared": ({"router": "sigmoid", "k": 3, "combine": "kept"},
                                 {"bias": True, "shared": True}),
    "cosine_top2": ({"router": "cosine", "k": 2, "combine": "kept"},
                    {"temperature": math.log(2)}),
    "cosine_topp60": ({"router": "cosine", "p": 0.6, "combine": "reference"},
                      {"temperature": 1.1}),
    # Above ln 100: the factor stays there, and the temperature has no gradient.
    "cosine_capped": ({"router": "cosine", "k": 2, "combine": "kept"}, {"temperature": 4.9}),
    "top_any": ({"router": "top_any", "auxiliary": 0.01}, {}),
    "top_any_temperature": ({"router": "top_any", "auxiliary": 0.01},
                            {"temperature": math.log(10)}),
    "top_any_capped_shared": ({"router": "top_any", "auxiliary": 0.01},
                              {"temperature": 4.9, "shared": True}),
}


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    writer = GoldenWriter(os.path.join(here, "routers_models.h5"))
    for name, (config, parts) in CASES.items():
        make = lambda: draw_until(lambda: draw(config["router"], **parts),
                                  lambda drawn: clear(drawn, config))
        writer.case("layers", name, make, layer, config, frozen=("dout",))
    adaptation_runs(writer, each_expert)
    writer.close()


if __name__ == "__main__":
    main()
