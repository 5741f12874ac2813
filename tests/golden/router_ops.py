#!/usr/bin/env python3
"""Makes routers.h5: golden values of what routers other than softmax need, and of their losses."""
import os

import torch
import torch.nn.functional as F

from golden_writer import FLOAT, GoldenWriter, draw_until, normal, single, uniform
from routed_ops import clear_border, kept_topk


class Sign(torch.autograd.Function):
    """sign(x), taken for the identity on the way back."""

    @staticmethod
    def forward(context, x):
        return x.sign()

    @staticmethod
    def backward(context, dout):
        return dout


def route_any(scores, thresholds, best_if_none):
    active = Sign.apply(F.relu(scores - thresholds))
    sums = active.sum(1, keepdim=True)
    weights = active / torch.where(sums == 0, torch.ones_like(sums), sums)
    if best_if_none:
        best = F.one_hot(scores.argmax(1), scores.shape[1]).to(FLOAT)
        weights = torch.where(sums == 0, best, weights)
    kept = weights.detach() > 0
    return {"weights": weights, "kept": kept.to(torch.int32), "counts": kept.sum(0)}


def route_any_cases(writer, tokens=9, experts=5):
    def kept_by(drawn):
        return (drawn["scores"] > drawn["thresholds"]).sum(1)

    def accept(drawn):
        apart = (drawn["scores"] - drawn["thresholds"]).abs() > 0.01
        kept = kept_by(drawn)
        ordered = drawn["scores"].sort(dim=1)[0]
        return bool(apart.all() and (ordered.diff(dim=1) > 0.01).all()
                    and all((kept == count).any() for count in (0, 1, 2, 3)))

    draw = lambda: {"scores": uniform(0.05, 0.95, tokens, experts),
                    "thresholds": uniform(0.3, 0.9, experts)}
    for name, best in (("none_is_none", 0), ("best_if_none", 1)):
        make = lambda: draw_until(draw, accept, 100000)
        writer.case("route_any", name, make, route_any, {"best_if_none": best})


def row_cases(writer):
    make = lambda: {"x": normal(5, 7)}
    writer.case("row_norms", "a", make, lambda x: x.norm(dim=1))
    make = lambda: {"x": normal(2, 3, 7)}
    normalize = lambda x: F.normalize(x, dim=-1, eps=1e-12)
    writer.case("normalize_rows", "a", make, normalize)
    make = lambda: {"x": single(normal(2, 7) * torch.tensor([[1e-13], [0.0]]))}
    writer.case("normalize_rows", "short", make, normalize)


def squared_variation(x):
    return x.var(unbiased=False) / x.mean().square()


def load_loss(logits, k, sigma):
    """The chance that a logit with noise of deviation sigma passes the k-th of its token."""
    thresholds = logits.topk(k, dim=1)[0][:, -1:]
    chances = torch.distributions.Normal(0.0, 1.0).cdf((logits - thresholds) / sigma)
    return squared_variation(chances.sum(0))


def orthogonality_loss(probs, y, k):
    """Rows y in expert order, those of an expert in token order."""
    kept = kept_topk(probs, k)
    rows = {}
    for e in range(kept.shape[1]):
        for n in range(kept.shape[0]):
            if kept[n, e]:
                rows[n, e] = len(rows)
    loss = 0.0
    for n in range(kept.shape[0]):
        own = [y[row] for (token, _), row in rows.items() if token == n]
        for j, x_j in enumerate(own):
            for i, x_k in enumerate(own):
                if i != j:
                    along = (x_j @ x_k) / (x_k @ x_k + 1e-8) * x_k
                    loss = loss + along.square().sum()
    return loss / kept.shape[0]


def diversity_loss(embedding):
    units = F.normalize(embedding, dim=1)
    rest = units @ units.T - torch.eye(embedding.shape[0], dtype=FLOAT)
    return rest.norm() + embedding.norm(dim=1).mean()


def loss_cases(writer, tokens=7, experts=5):
    make = lambda: {"probs": single(F.softmax(normal(tokens, experts), dim=1))}
    writer.case("importance_loss", "a", make, lambda probs: squared_variation(probs.sum(0)))

    draw = lambda: {"logits": normal(tokens, experts)}
    make = lambda: draw_until(draw, lambda drawn: clear_border(F.softmax(drawn["logits"], dim=1)))
    for k, sigma in ((1, 0.5), (2, 0.2), (5, 1.0)):
        writer.case("load_loss", f"top{k}", make, load_loss, {"k": k, "sigma": sigma})

    make = lambda: {"scores": uniform(0.0, 1.0, tokens, experts)}
    variance = lambda scores: -scores.var(dim=0, unbiased=False).sum()
    writer.case("variance_loss", "a", make, variance)

    writer.case("diversity_loss", "wide", lambda: {"embedding": normal(4, 7)}, diversity_loss)
    writer.case("diversity_loss", "tall", lambda: {"embedding": normal(5, 3)}, diversity_loss)

    draw = lambda: {"probs": single(F.softmax(normal(tokens, experts), dim=1))}
    for k in (2, 4):
        def make():
            drawn = draw_until(draw, lambda drawn: clear_border(drawn["probs"]))
            return {**drawn, "y": normal(tokens * k, 6)}

        writer.case("orthogonality_loss", f"top{k}", make, orthogonality_loss, {"k": k},
                    frozen=("probs",))


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    writer = GoldenWriter(os.path.join(here, "routers.h5"))
    for cases in (row_cases, route_any_cases, loss_cases):
        cases(writer)
    writer.close()


if __name__ == "__main__":
    main()
