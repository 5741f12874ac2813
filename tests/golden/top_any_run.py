"""Top-any routing (DynMoE, arXiv 2405.14297) and short training runs with it, in which an expert
without tokens goes and one for tokens without experts comes."""
import json
import math

import torch
import torch.nn.functional as F

from golden_writer import FLOAT, normal, single

CONFIG = {"features": 6, "hidden": 5, "experts": 4, "tokens": 40, "steps": 5, "adapting_step": 2,
          "lr": 3e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01, "auxiliary": 0.01}
MARGIN = 1e-6  # of a score to its threshold


class SignThrough(torch.autograd.Function):
    """sign, whose backward is the identity."""

    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, dout):
        return dout


def cosines(x, rows):
    return F.normalize(x, dim=1) @ F.normalize(rows, dim=1).T


def factor(weights):
    tau = weights.get("gate.temperature")
    return 1.0 if tau is None else tau.clamp(max=math.log(100)).exp()


def top_any(x, weights, train):
    """Scores [N, E], what they must exceed [E], and dense combine weights."""
    scores = torch.sigmoid(cosines(x, weights["gate.weight"]) * factor(weights))
    thresholds = torch.sigmoid(weights["gate.threshold"] * factor(weights))
    active = SignThrough.apply(F.relu(scores - thresholds))
    total = active.sum(1, keepdim=True)
    combined = active / torch.where(total == 0, torch.ones_like(total), total)
    if not train:
        best = F.one_hot(scores.argmax(1), scores.shape[1]).to(FLOAT)
        combined = torch.where(total == 0, best, combined)
    return scores, thresholds, combined


def auxiliary_loss(rows):
    """Frobenius norm of the rows' Gram matrix (of normalised rows) less I, and their mean norm."""
    unit = F.normalize(rows, dim=1)
    gram = unit @ unit.T
    return (gram - torch.eye(len(rows), dtype=FLOAT)).norm() + rows.norm(dim=1).mean()


class Rows:
    """Parameters with AdamW's moments, and a step count for each expert's row.

    `tables`: values, gradients, exp_avg, exp_avg_sq and step, by parameter name. The temperature
    is no expert's; it has one count, that of the steps.
    """

    def __init__(self, init):
        self.tables = {"values": {key: value.clone() for key, value in init.items()}}
        for table in ("gradients", "exp_avg", "exp_avg_sq"):
            self.tables[table] = {key: torch.zeros_like(value) for key, value in init.items()}
        self.tables["step"] = {key: torch.zeros(len(value), dtype=torch.int64)
                               for key, value in init.items()}

    def copy(self):
        return {table: {key: tensor.clone() for key, tensor in tensors.items()}
                for table, tensors in self.tables.items()}

    def leaves(self):
        return {key: value.clone().requires_grad_()
                for key, value in self.tables["values"].items()}

    def remove(self, row):
        """The last row takes its place."""
        for tensors in self.tables.values():
            for key, tensor in tensors.items():
                if key != "gate.temperature":
                    tensor = tensor.clone()
                    tensor[row] = tensor[-1]
                    tensors[key] = tensor[:-1]

    def append(self, fresh):
        """Values of a new last row; its gradient, moments and counts are zero."""
        for table, tensors in self.tables.items():
            for key, tensor in tensors.items():
                if key != "gate.temperature":
                    row = fresh[key] if table == "values" else torch.zeros_like(tensor[0])
                    tensors[key] = torch.cat([tensor, row[None]])

    def step(self):
        beta1, beta2 = CONFIG["betas"]
        for key, value in self.tables["values"].items():
            count = self.tables["step"][key]
            count += 1
            t = count.to(FLOAT).view(-1, *[1] * (value.dim() - 1))
            grad, m, v = (self.tables[table][key] for table in
                          ("gradients", "exp_avg", "exp_avg_sq"))
            if value.dim() > 1:
                value *= 1 - CONFIG["lr"] * CONFIG["weight_decay"]
            m.mul_(beta1).add_(grad, alpha=1 - beta1)
            v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            denominator = v.sqrt() / (1 - beta2 ** t).sqrt() + CONFIG["eps"]
            value -= CONFIG["lr"] * m / (1 - beta1 ** t) / denominator


def forward(weights, x, target, each_expert):
    scores, thresholds, combined = top_any(x, weights, train=True)
    y = (combined[:, :, None] * each_expert(x, weights)).sum(1)
    active = scores > thresholds
    outputs = {"loss": (y - target).square().mean(),
               "auxiliary": auxiliary_loss(weights["gate.weight"]),
               "scores": scores, "thresholds": thresholds, "active": active.sum(1).int(),
               "tokens_per_expert": active.sum(0)}
    return outputs, bool(((scores - thresholds).abs() > MARGIN).all())


def draw(temperature, idle, choosy):
    """`idle`: expert 1 wants no token. `choosy`: some tokens find no expert."""
    d, h, experts = (CONFIG[key] for key in ("features", "hidden", "experts"))
    init = {"fc1.weight": normal(experts, h, d, scale=0.5),
            "fc1.bias": normal(experts, h, scale=0.3),
            "fc2.weight": normal(experts, d, h, scale=0.5),
            "fc2.bias": normal(experts, d, scale=0.3),
            "gate.weight": normal(experts, d),
            "gate.threshold": single(normal(experts, scale=0.05) + (0.1 if choosy else -0.6))}
    if temperature:
        init["gate.temperature"] = single(torch.tensor([math.log(10)], dtype=FLOAT))
    if idle:
        init["gate.threshold"][1] = 0.9375
    shape = (CONFIG["steps"], CONFIG["tokens"], d)
    fresh = {"fc1.weight": normal(h, d, scale=0.5), "fc1.bias": normal(h, scale=0.3),
             "fc2.weight": normal(d, h, scale=0.5), "fc2.bias": normal(d, scale=0.3)}
    return init, normal(*shape), normal(*shape), fresh


def adapt(rows, total, unrouted, fresh):
    """Removes the expert without tokens; adds one for tokens without experts. The removed row."""
    idle = [row for row, count in enumerate(total.tolist()) if count == 0]
    assert len(idle) <= 1
    for row in idle:
        rows.remove(row)
    if unrouted is not None:
        rows.append({**fresh, "gate.weight": unrouted / unrouted.norm(),
                     "gate.threshold": torch.tensor(0.0, dtype=FLOAT)})
    return idle[0] if idle else -1


def run(init, x, target, fresh, each_expert):
    """What happened, step by step, and whether every score kept its distance."""
    rows, steps, clear = Rows(init), [], True
    total, sum_of_unrouted, added = torch.zeros(CONFIG["experts"]), torch.zeros(x.shape[2]), False
    events = {}
    for step in range(CONFIG["steps"]):
        leaves = rows.leaves()
        outputs, is_clear = forward(leaves, x[step], target[step], each_expert)
        clear &= is_clear
        (outputs["loss"] + CONFIG["auxiliary"] * outputs["auxiliary"]).backward()
        rows.tables["gradients"] = {key: leaf.grad for key, leaf in leaves.items()}
        gradients = rows.copy()["gradients"]
        if step <= CONFIG["adapting_step"]:
            none = outputs["active"] == 0
            total = total + outputs["tokens_per_expert"]
            sum_of_unrouted = sum_of_unrouted + x[step][none].sum(0)
            added |= bool(none.any())
        if step == CONFIG["adapting_step"]:
            events["before"] = rows.copy()
            events["removed_row"] = adapt(rows, total, sum_of_unrouted if added else None, fresh)
            events["added"] = int(added)
            events["unrouted"] = sum_of_unrouted
            events["after"] = rows.copy()
        rows.step()
        steps.append((outputs, gradients, rows.copy()["values"]))
    return steps, events, clear


def check_against_torch(init, x, target, each_expert):
    """Our AdamW is PyTorch's, as long as no row comes or goes."""
    rows = Rows(init)
    leaves = rows.leaves()
    groups = [{"params": [leaf], "weight_decay": CONFIG["weight_decay"] if leaf.dim() > 1 else 0.0}
              for leaf in leaves.values()]
    optimizer = torch.optim.AdamW(groups, lr=CONFIG["lr"], betas=CONFIG["betas"],
                                  eps=CONFIG["eps"])
    for step in range(CONFIG["steps"]):
        optimizer.zero_grad()
        outputs, _ = forward(leaves, x[step], target[step], each_expert)
        (outputs["loss"] + CONFIG["auxiliary"] * outputs["auxiliary"]).backward()
        rows.tables["gradients"] = {key: leaf.grad.clone() for key, leaf in leaves.items()}
        optimizer.step()
        rows.step()
        for key, leaf in leaves.items():
            assert torch.allclose(rows.tables["values"][key], leaf, rtol=0, atol=1e-14), key


def write(writer, path, tensors):
    group = writer.group(path)
    for name, tensor in tensors.items():
        group.create_dataset(name, data=tensor.detach().numpy())


def adaptation_runs(writer, each_expert):
    cases = {"remove": (False, True, False), "add": (True, False, True),
             "remove_and_add": (False, True, True)}
    for name, (temperature, idle, choosy) in cases.items():
        torch.manual_seed(len(name))
        for _ in range(1000):
            init, x, target, fresh = draw(temperature, idle, choosy)
            steps, events, clear = run(init, x, target, fresh, each_expert)
            served = all((outputs["tokens_per_expert"] > 0).all() for outputs, _, _ in steps[3:])
            if clear and served and (events["removed_row"] == 1) == idle and \
                    bool(events["added"]) == choosy:
                break
        else:
            raise RuntimeError("no draw was accepted")
        check_against_torch(init, x, target, each_expert)
        root = f"adaptation/{name}"
        write(writer, root, {"x": x, "target": target})
        write(writer, root + "/init", init)
        for part in ("before", "after"):
            counts = events[part].pop("step")
            write(writer, f"{root}/{part}", {"step": counts["gate.weight"]})
            assert all((counts[key] == counts["gate.weight"]).all() for key in init
                       if key != "gate.temperature")
            for table, tensors in events[part].items():
                write(writer, f"{root}/{part}/{table}", tensors)
        if events["added"]:
            write(writer, root, {"unrouted": events["unrouted"]})
            write(writer, root + "/fresh", fresh)
        for index, (outputs, gradients, values) in enumerate(steps):
            write(writer, f"{root}/step{index}", outputs)
            write(writer, f"{root}/step{index}/gradients", gradients)
            write(writer, f"{root}/step{index}/values", values)
        writer.group(root).attrs["config"] = json.dumps(
            {**CONFIG, "temperature": int(temperature), "removed_row": events["removed_row"],
             "added": events["added"]})
