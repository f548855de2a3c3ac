#!/usr/bin/env python3
"""Decode and prefill against llama.cpp's llama-bench on the same file, interleaved: A B A B … so that a drifting machine favours neither.

    bench/compare_llama.py MODEL.gguf --sluice build/release/sluice --llama-bench PATH [--threads 2] [-p 512] [-n 64] [-r 5]
                           [--memory 3500M [--read-ahead 128,1024,4096]]

With --memory both run in a control group of that size (root; cgroup v1 or v2) from a cold page cache: sluice with the same --ram, llama.cpp with mmap, once for
each read-ahead of the disk (KiB), its best counting. Prints each figure's median, the ratio of medians, and the lowest and highest of the pairwise ratios.
"""

import argparse
import contextlib
import statistics
import sys

sys.dont_write_bytecode = True
from measuring import bytes_of, disk_of, drop_cache, memory_group, run_json  # noqa: E402


def sluice(args, join):
    command = [args.sluice, "bench", args.model, "--threads", str(args.threads), "-p", str(args.p), "-n", str(args.n), "-r", "1", "--json"]
    if args.memory:
        command += ["--ram", str(bytes_of(args.memory))]
    result = run_json(command, join)
    speeds = {phase: result[phase]["tok_s"] for phase in ("prefill", "decode") if phase in result}
    if args.memory and "decode" in result:
        decode = result["decode"]
        speeds["decode disk GB/s"] = decode["experts"]["bytes_read"] / decode["seconds"] / 1e9
        speeds["disk ceiling GB/s"] = result["ceilings"]["disk_read_gbs"]
        speeds["decode hit rate"] = decode["experts"]["hit_rate"]
        speeds["peak RSS MiB"] = result["memory"]["peak_rss"] / (1 << 20)
    return speeds


def llama(args, join):
    command = [args.llama_bench, "-m", args.model, "-t", str(args.threads), "-r", "1", "-o", "json", "-p", str(args.p), "-n", str(args.n)]
    if args.memory:
        command += ["--no-warmup", "--load-mode", "mmap", "--repack", "0"]  # repacked weights are memory that the group does not have
        drop_cache(args.model)
    return {"prefill" if row["n_prompt"] else "decode": row["avg_ts"] for row in run_json(command, join)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--sluice", default="build/release/sluice")
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=64)
    parser.add_argument("-r", type=int, default=5)
    parser.add_argument("--memory")
    parser.add_argument("--read-ahead", default="128")
    args = parser.parse_args()

    ours, theirs = [], {}
    with contextlib.ExitStack() as stack:
        join = stack.enter_context(memory_group(bytes_of(args.memory))) if args.memory else None
        knob = disk_of(args.model) / "queue/read_ahead_kb"
        steps = args.read_ahead.split(",") if args.memory else [""]
        before = knob.read_text() if args.memory else None
        try:
            for round_number in range(args.r):
                ours.append(sluice(args, join))
                print(f"sluice     {ours[-1]}", file=sys.stderr)
                for step in steps:
                    if step:
                        knob.write_text(step)
                    theirs.setdefault(step, []).append(llama(args, join))
                    print(f"llama.cpp {step} {theirs[step][-1]}", file=sys.stderr)
        finally:
            if before:
                knob.write_text(before)

    for phase in ours[0]:
        mine = [run_[phase] for run_ in ours]
        line = f"{phase:18} sluice {statistics.median(mine):9.3f}"
        if phase in ("prefill", "decode"):
            best = max(theirs, key=lambda step: statistics.median(run_[phase] for run_ in theirs[step]))
            other = [run_[phase] for run_ in theirs[best]]
            pairs = [a / b for a, b in zip(mine, other)]
            line += (f"   llama.cpp {statistics.median(other):9.3f}{' (read-ahead ' + best + ' KiB)' if best else ''}"
                     f"   ratio {statistics.median(mine) / statistics.median(other):.2f} ({min(pairs):.2f} to {max(pairs):.2f})")
        print(line)


if __name__ == "__main__":
    main()
