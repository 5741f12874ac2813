#!/usr/bin/env python3
"""What h5py finds in a checkpoint is what the run logged.

checkpoint_h5py.py OFFSHOOT_HMM FLAGS...: trains with these flags in a folder of its own and
compares metrics and lineage of checkpoint.h5 with metrics.jsonl, without any code of ours.
Exit status 77 where h5py is not installed.
"""

import json
import math
import os
import subprocess
import sys
import tempfile

try:
    import h5py
except ImportError:
    # The first python3 on PATH need not be the one that Debian's packages are for.
    if sys.executable != "/usr/bin/python3" and os.path.exists("/usr/bin/python3"):
        os.execv("/usr/bin/python3", ["/usr/bin/python3"] + sys.argv)
    print("h5py is not installed: skipped")
    sys.exit(77)


def same(found, expected):
    """Equal numbers; NaN in the file is null in the log."""
    if expected is None:
        return math.isnan(found)
    return found == expected


def check(condition, *values):
    if not condition:
        sys.exit("differs: " + " ".join(str(value) for value in values))


def check_metrics(file, log):
    check(file.attrs["step"] == len(log), "step", file.attrs["step"], len(log))
    for name in ("loss", "auxiliary_loss", "learning_rate", "active_experts"):
        column = file["metrics"][name][:]
        check(column.shape == (len(log),), name, column.shape, len(log))
        for found, line in zip(column, log):
            check(found == line[name], name, line["step"], found, line[name])
    layers = sorted(file["metrics/experts"])
    for i, layer in enumerate(layers):
        found = file["metrics/experts"][layer][:].tolist()
        check(found == [line["experts"][i] for line in log], "experts", layer)
    tests = [(line["step"] + 1, line["test_loss"]) for line in log if "test_loss" in line]
    check(tests, "tests")
    found = list(zip(file["metrics/test_steps"][:], file["metrics/test_loss"][:]))
    check(found == tests, "test_loss", found, tests)
    return layers


def check_lineage(file, log, layers):
    events = [event for line in log for event in line.get("events", [])]
    births = 0
    for layer in layers:
        table = file["lineage"][layer][:]
        lives = {int(row["id"]): row for row in table}
        check(sorted(lives) == list(range(len(lives))), "ids", sorted(lives))
        own = [event for event in events if event["layer"] == layer]
        born = {event["created"]: event for event in own if event["kind"] == "expand"}
        died = {event["source"]: event for event in own if event["kind"] == "reject"}
        births += len(born)
        for expert, row in lives.items():
            event = born.get(expert)
            if event is None:
                check(row["parent"] == -1 and row["born"] == 0, "founder", expert, row)
            else:
                check(row["parent"] == event["source"], "parent", expert, row, event)
                check(row["born"] == event["step"], "born", expert, row, event)
                for name in ("p_value", "cosine"):
                    check(same(row[name], event[name]), name, expert, row, event)
            if row["died"] >= 0 and expert in died:
                check(row["died"] == died[expert]["step"], "died", expert, row)
            check(expert not in died or row["died"] >= 0, "dead", expert, row)
        check(set(born) <= set(lives), "born", sorted(born), sorted(lives))
        alive = sorted(expert for expert, row in lives.items() if row["died"] < 0)
        ids = sorted(file["growth"][layer]["ids"][:].tolist())
        check(alive == ids, "alive", layer, alive, ids)
        check(len(alive) == log[-1]["experts"][layers.index(layer)], "K", layer, alive)
        weight = file["model"][layer + ".fc1.weight"]
        check(weight.shape[0] == len(alive), "rows", layer, weight.shape)
    check(births > 0, "no expert was born, so there is nothing to compare")


def main():
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.argv[1], *sys.argv[2:], "--out", folder + "/run"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with open(folder + "/run/metrics.jsonl", encoding="utf-8") as lines:
            log = [json.loads(line) for line in lines]
        with h5py.File(folder + "/run/checkpoint.h5", "r") as file:
            check_lineage(file, log, check_metrics(file, log))
            json.loads(file["configuration"][()])
    print("checkpoint and log agree")


main()
