#!/usr/bin/env python3
"""Decode and prefill with every placement of experts between a GPU and the CPU, and llama.cpp's best beside them. Standard library only, Linux.

    bench/compare_placements.py MODEL.gguf [--shares 10,25,50,100] [--sluice build/cuda/sluice] [--llama-bench PATH] [--routing TRACE] [-p 512] [-n 64] [--rounds 3]

A share of 25 % is the --vram that holds a quarter of the experts' bytes beside all other weights, the KV cache and what a pass works in; all experts are in
RAM. A round runs each setting once at each share, in turn. llama.cpp has all dense weights on the GPU and the experts of as many layers as the share allows (--n-cpu-moe for the
others): it may use what it likes of the GPU's memory for the rest. Speeds are medians; "x best" compares `auto` with the best other placement, run by run."""

import argparse
import statistics
import sys

sys.dont_write_bytecode = True
from measuring import run_json  # noqa: E402

SCRATCH = 768 << 20  # bytes of the GPU's memory beside weights
PHASES = ("prefill", "decode")


def sluice(args, plan, share, placement):
    vram = SCRATCH + plan["dense_bytes"] + plan["expert_bytes"] * share // 100
    command = [args.sluice, "bench", args.model, "--json", "--no-ceilings", "-r", "1", "-p", str(args.p), "-n", str(args.n), "--ctx", str(args.p + args.n + 64),
               "--vram", str(vram if placement != "cpu-only" else 0), "--placement", placement]
    if args.routing:
        command += ["--routing", args.routing]
    result = run_json(command)
    speeds = {phase: result[phase]["tok_s"] for phase in PHASES}
    device = result.get("device")
    if placement != "cpu-only" and (device is None or device["lost"]):
        sys.exit(f"--placement {placement}: the GPU was not used{': ' + device['lost'] if device else ''}")
    speeds["found"] = device["found"] / max(1, device["experts"]) if device else 0
    return speeds


def llama(args, plan, share):
    layers = plan["layers"] - plan["layers"] * share // 100
    command = [args.llama_bench, "-m", args.model, "-ngl", "99", "--n-cpu-moe", str(layers), "-r", "1", "-o", "json", "-p", str(args.p), "-n", str(args.n)]
    speeds = {"prefill" if row["n_prompt"] else "decode": row["avg_ts"] for row in run_json(command)}
    return {**speeds, "found": 0}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--sluice", default="build/cuda/sluice")
    parser.add_argument("--llama-bench")
    parser.add_argument("--shares", default="10,25,50,100")
    parser.add_argument("--routing")
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    info = run_json([args.sluice, "info", args.model, "--json"])
    plan = {"dense_bytes": info["dense_bytes"], "expert_bytes": info["expert_bytes"], "layers": info["description"]["sparse_layers"]}
    shares = [int(share) for share in args.shares.split(",")]
    runs = {}
    for number in range(args.rounds):
        for share in shares:
            hot = info["expert_count"] * share // 100
            for placement in ("auto", "gpu-only", "cpu-only", f"static:{hot}"):
                runs.setdefault((share, placement.split(":")[0]), []).append(sluice(args, plan, share, placement))
            if args.llama_bench:
                runs.setdefault((share, "llama.cpp"), []).append(llama(args, plan, share))
            print(f"round {number + 1} of {args.rounds}, {share} %", file=sys.stderr)

    print("| experts on the GPU | placement | prefill tokens/s | decode tokens/s | found there |\n| --- | --- | --- | --- | --- |")
    for (share, placement), own in runs.items():
        cells = [f"{statistics.median(run[key] for run in own):.1f}" for key in PHASES]
        print(f"| {share} % | {placement} | {cells[0]} | {cells[1]} | {100 * statistics.median(run['found'] for run in own):.0f} % |")
    print()
    for share in shares:
        others = [runs[share, placement] for placement in ("gpu-only", "cpu-only", "static")]
        ratios = {phase: [own[phase] / max(other[phase] for other in beside) for own, *beside in zip(runs[share, "auto"], *others)] for phase in PHASES}
        print(f"{share} %: auto x best, " + ", ".join(f"{phase} {statistics.median(ratios[phase]):.2f} ({min(ratios[phase]):.2f} to {max(ratios[phase]):.2f})" for phase in PHASES))


if __name__ == "__main__":
    main()
