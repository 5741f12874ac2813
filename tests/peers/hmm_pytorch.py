#!/usr/bin/env python3
"""The speed peer: the GINC Transformer in the fastest PyTorch we could write.

The reference configuration of offshoot-hmm (d 64, 4 heads, one layer, experts of hidden size 32,
sequences of 64, batch 16, AdamW 3e-3 with cosine, float32) with MASS's top-p 0.7 routing and a
fixed pool of K = 10 experts, where MASS ends on this corpus. No monitoring and no growth: less work
than ours.

Without --variant every variant runs in a process of its own, one JSON line each and the best at the
end. See README.md.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

BLOCK = 20  # steps; the fastest block says what a busy machine could do

# experts: how the mixture is computed. mode: eager; compile (the loss and its backward); step (the
# whole step, optimizer included, as one graph); cpp (that behind a C++ wrapper); autotune (that
# with generated products where they are faster).
VARIANTS = {
    f"{experts}-{mode}-{threads}": {"experts": experts, "mode": mode, "threads": threads}
    for experts, mode in (("loop", "eager"), ("sorted", "eager"), ("stacked", "eager"),
                          ("bmm", "eager"), ("grouped", "eager"), ("stacked", "compile"),
                          ("bmm", "compile"), ("stacked", "step"), ("stacked", "cpp"),
                          ("sorted", "cpp"), ("stacked", "autotune"))
    for threads in (1, 2)
}
BEST = ("stacked-cpp-1", "stacked-cpp-2")  # the second where both cores are free

LIBRARIES = "/usr/lib/x86_64-linux-gnu/"
ALLOCATORS = {"tcmalloc": LIBRARIES + "libtcmalloc_minimal.so.4",
              "jemalloc": LIBRARIES + "libjemalloc.so.2", "glibc": ""}
# stock: as PyPI's wheel comes, MKL takes AVX2 kernels on an AMD processor. avx512: a preloaded
# function tells MKL to choose by the processor's features, which doubles its rate there.
MKL = ("avx512", "stock")
MKL_SHIM = "int mkl_serv_intel_cpu_true(void) { return 1; }\n"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="all",
                        help="a name, all (default), or best: the faster of " + ", ".join(BEST))
    parser.add_argument("--allocator", choices=ALLOCATORS, help="preload this allocator")
    parser.add_argument("--mkl", choices=MKL, help="the kernels that MKL chooses on AMD processors")
    parser.add_argument("--steps", type=int, default=300, help="timed steps")
    parser.add_argument("--warmup", type=int, default=20, help="steps of the same run before them")
    parser.add_argument("--data", help="corpus file; default: random HMM documents of that kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=1, help="keep the best of so many runs")
    parser.add_argument("--only", default="", help="all: variants whose name holds this")
    parser.add_argument("--json", action="store_true", help="print nothing but JSON")
    return parser.parse_args()


def measure(name, options):
    import torch  # only here: the process that starts others needs none

    from hmm_data import load_windows
    from hmm_model import EXPERTS, P, train
    variant = VARIANTS[name]
    torch.set_num_threads(variant["threads"])
    windows = load_windows(options.data, options.seed)
    started = time.perf_counter()
    run = train(variant, windows, options.seed, options.warmup + options.steps)
    for _ in range(options.warmup):
        next(run)
    begun, cpu_begun = time.perf_counter(), time.process_time()
    losses, blocks = [], [begun]
    for loss in run:
        losses.append(loss)
        if len(losses) % BLOCK == 0:
            blocks.append(time.perf_counter())
    seconds = time.perf_counter() - begun
    cpu_seconds = time.process_time() - cpu_begun
    return {"variant": name, "allocator": options.allocator, "mkl": options.mkl,
            "experts": EXPERTS, "p": P, "steps": options.steps, "steps_per_second": round(options.steps / seconds, 2),
            "best_block": round(BLOCK / min(b - a for a, b in zip(blocks, blocks[1:])), 2),
            "steps_per_cpu_second": round(options.steps / cpu_seconds, 2),
            "first_loss": losses[0].item(),
            "last_loss": torch.stack(losses[-50:]).mean().item(),
            "warmup_seconds": round(begun - started, 2), "torch": torch.__version__}


def mkl_shim():
    """The path of the preloaded function; compiled once."""
    path = os.path.join(tempfile.gettempdir(), f"hmm_peer_mkl_{os.getuid()}.so")
    if not os.path.exists(path):
        command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", path]
        subprocess.run(command, input=MKL_SHIM, text=True, check=True)
    return path


def environment(threads, allocator, mkl):
    """Allocators, MKL and OpenMP read their environment when a process starts."""
    preload = [mkl_shim()] if mkl == "avx512" else []
    if ALLOCATORS[allocator]:
        if not os.path.exists(ALLOCATORS[allocator]):
            sys.exit(f"{ALLOCATORS[allocator]} is missing: "
                     "apt install libtcmalloc-minimal4 libjemalloc2")
        preload.append(ALLOCATORS[allocator])
    return dict(os.environ, HMM_PEER_READY="1", OMP_NUM_THREADS=str(threads),
                LD_PRELOAD=":".join(preload))


def run(options, name, allocator, mkl):
    """The fastest of the repeats, each in a fresh process; None when it fails."""
    command = [sys.executable, os.path.abspath(__file__), "--json", "--variant", name,
               "--allocator", allocator, "--mkl", mkl, "--steps", str(options.steps),
               "--warmup", str(options.warmup), "--seed", str(options.seed)]
    command += ["--data", options.data] if options.data else []
    results = []
    for _ in range(options.repeats):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
            print(json.dumps({"variant": name, "error": reason}), flush=True)
            return None
        results.append(json.loads(done.stdout.splitlines()[-1]))
    return faster(results)


def faster(results):
    return max(filter(None, results), key=lambda result: result["steps_per_second"], default=None)


def run_all(options, names):
    """Every variant, then the best one in the other environments."""
    first = (options.allocator or "tcmalloc", options.mkl or "avx512")
    results = []
    for name in names:
        results.append(run(options, name, *first))
        print(json.dumps(results[-1]), flush=True)
    best = faster(results)
    others = [(allocator, mkl) for allocator in ALLOCATORS for mkl in MKL
              if options.allocator in (None, allocator) and options.mkl in (None, mkl)]
    for how in others:
        if best and how != first and options.variant == "all":
            results.append(run(options, best["variant"], *how))
            print(json.dumps(results[-1]), flush=True)
    return faster(results)


def main():
    options = arguments()
    if options.variant == "all":
        names = [name for name in VARIANTS if options.only in name]
        print(json.dumps({"best": run_all(options, names)}))
        return
    if options.variant == "best":
        best = run_all(options, BEST)
        if not options.json:
            print(f"{best['variant']}: {best['steps_per_second']} steps/s")
        print(json.dumps(best))
        return
    if options.variant not in VARIANTS:
        sys.exit(f"unknown variant {options.variant}; there are {', '.join(VARIANTS)}")
    options.allocator = options.allocator or "tcmalloc"
    options.mkl = options.mkl or "avx512"
    if "HMM_PEER_READY" not in os.environ:
        threads = VARIANTS[options.variant]["threads"]
        env = environment(threads, options.allocator, options.mkl)
        os.execve(sys.executable, [sys.executable] + sys.argv, env)
    result = measure(options.variant, options)
    if not options.json:
        print(f"{result['variant']}: {result['steps_per_second']} steps/s")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
