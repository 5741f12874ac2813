#!/usr/bin/env python3
"""Makes training.h5: one step of a small GINC Transformer with a top-2 mixture of experts, and 20
steps of AdamW, Adam and SGD on recorded gradients, by PyTorch in float64."""
import json
import os

import torch
import torch.nn.functional as F

from golden_writer import FLOAT, GoldenWriter, draw_until, normal, single
from make_ops import attention
from routed_ops import clear_border, moe

CONFIG = {"d_model": 16, "heads": 2, "layers": 1, "vocabulary": 11, "experts": 3, "hidden": 8,
          "topk": 2, "seq": 12, "batch": 3, "ln_eps": 1e-5}
OPTIMIZERS = {
    "adamw": {"lr": 3e-3, "steps_of_schedule": 25, "betas": [0.9, 0.999], "eps": 1e-8,
              "weight_decay": 0.01},
    "adam": {"lr": 3e-3, "betas": [0.9, 0.99], "eps": 1e-8},
    "sgd": {"lr": 0.1, "momentum": 0.9},
}
STEPS = 20
# A matrix, a table with one row an expert in three and two dimensions, and a vector.
FOLLOWED = ["block.moe.fc1.weight", "block.moe.fc1.bias", "block.moe.gate.weight",
            "block.ln1.weight", "block.attention.out.weight"]


def initial_weights():
    """Larger than a real start, so that no gradient is tiny."""
    d, h, experts, vocabulary = (CONFIG[key] for key in
                                 ("d_model", "hidden", "experts", "vocabulary"))
    weights = {"embedding.weight": normal(vocabulary, d, scale=0.5),
               "position.weight": normal(CONFIG["seq"], d, scale=0.5)}
    for norm in ("block.ln1", "block.ln2", "ln_final"):
        weights[norm + ".weight"] = single(1.0 + normal(d, scale=0.2))
        weights[norm + ".bias"] = normal(d, scale=0.2)
    for layer, rows in (("qkv", 3 * d), ("out", d)):
        weights[f"block.attention.{layer}.weight"] = normal(rows, d, scale=0.3)
        weights[f"block.attention.{layer}.bias"] = normal(rows, scale=0.2)
    weights["block.moe.gate.weight"] = normal(experts, d, scale=0.5)
    weights["block.moe.fc1.weight"] = normal(experts, h, d, scale=0.3)
    weights["block.moe.fc1.bias"] = normal(experts, h, scale=0.2)
    weights["block.moe.fc2.weight"] = normal(experts, d, h, scale=0.4)
    weights["block.moe.fc2.bias"] = normal(experts, d, scale=0.2)
    weights["head.weight"] = normal(vocabulary, d, scale=0.4)
    return weights


def forward(weights, tokens):
    """Logits [batch, seq, vocabulary] and the router's probabilities."""
    d, heads = CONFIG["d_model"], CONFIG["heads"]

    def norm(name, x):
        return F.layer_norm(x, (d,), weights[name + ".weight"], weights[name + ".bias"],
                            CONFIG["ln_eps"])

    def linear(name, x):
        return F.linear(x, weights[name + ".weight"], weights[name + ".bias"])

    x = weights["embedding.weight"][tokens] + weights["position.weight"]
    qkv = linear("block.attention.qkv", norm("block.ln1", x))
    split = [part.unflatten(-1, (heads, d // heads)).transpose(1, 2) for part in qkv.split(d, -1)]
    mixed = attention(*split, causal=True).transpose(1, 2).flatten(2)
    x = x + linear("block.attention.out", mixed)
    experts = [weights["block.moe." + name] for name in
               ("gate.weight", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")]
    routed = moe(norm("block.ln2", x).flatten(0, 1), *experts, policy="topk", weights="kept",
                 k=CONFIG["topk"])
    x = norm("ln_final", x + routed["out"].view_as(x))
    return x @ weights["head.weight"].T, routed["probs"]


def task_loss(logits, tokens):
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def write(writer, path, tensors):
    group = writer.group(path)
    for name, tensor in tensors.items():
        group.create_dataset(name, data=tensor.detach().numpy())
    return group


def record_step(writer):
    def draw():
        shape = (CONFIG["batch"], CONFIG["seq"] + 1)
        return initial_weights(), torch.randint(CONFIG["vocabulary"], shape)

    weights, tokens = draw_until(draw, lambda drawn: clear_border(
        forward(drawn[0], drawn[1][:, :-1])[1]))
    for weight in weights.values():
        weight.requires_grad_()
    logits, _ = forward(weights, tokens[:, :-1])
    loss = task_loss(logits, tokens)
    loss.backward()
    group = write(writer, "step", {"tokens": tokens.int(), "logits": logits, "loss": loss})
    group.attrs["config"] = json.dumps(CONFIG)
    write(writer, "step/init", weights)
    write(writer, "step/gradients", {name: weight.grad for name, weight in weights.items()})
    return weights, tokens


def decay_groups(weights, decay):
    """Weight decay on parameters of two or more dimensions."""
    decayed = [weight for weight in weights.values() if weight.dim() > 1]
    rest = [weight for weight in weights.values() if weight.dim() <= 1]
    return [{"params": decayed, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]


def train(init, tokens):
    """20 steps of AdamW on the task: gradients and weights after each, and the learning rates."""
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in init.items()}
    how = OPTIMIZERS["adamw"]
    optimizer = torch.optim.AdamW(decay_groups(weights, how["weight_decay"]), lr=how["lr"],
                                  betas=how["betas"], eps=how["eps"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how["steps_of_schedule"])
    gradients, after, rates = [], [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        task_loss(forward(weights, tokens[:, :-1])[0], tokens).backward()
        gradients.append({name: weights[name].grad.clone() for name in FOLLOWED})
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
        after.append({name: weights[name].detach().clone() for name in FOLLOWED})
    return gradients, after, torch.tensor(rates, dtype=FLOAT)


def replay(init, gradients, optimizer_of):
    """The weights after each step of another optimizer fed the recorded gradients."""
    weights = {name: init[name].detach().clone().requires_grad_() for name in FOLLOWED}
    optimizer = optimizer_of(weights.values())
    after = []
    for step in gradients:
        for name, gradient in step.items():
            weights[name].grad = gradient.clone()
        optimizer.step()
        after.append({name: weight.detach().clone() for name, weight in weights.items()})
    return after


def stacked(steps):
    return {name: torch.stack([step[name] for step in steps]) for name in FOLLOWED}


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    writer = GoldenWriter(os.path.join(here, "training.h5"))
    torch.manual_seed(20)
    init, tokens = record_step(writer)
    gradients, after, rates = train(init, tokens)
    adam, sgd = OPTIMIZERS["adam"], OPTIMIZERS["sgd"]
    runs = {
        "adamw": after,
        "adam": replay(init, gradients, lambda weights: torch.optim.Adam(weights, **adam)),
        "sgd": replay(init, gradients, lambda weights: torch.optim.SGD(weights, **sgd)),
    }
    write(writer, "optimizers/gradients", stacked(gradients))
    for name, steps in runs.items():
        group = write(writer, f"optimizers/{name}", stacked(steps))
        group.attrs["config"] = json.dumps(OPTIMIZERS[name])
    write(writer, "optimizers/adamw", {"learning_rates": rates})
    writer.close()


if __name__ == "__main__":
    main()
