#!/usr/bin/env python3
"""How fast weights meet activations at each number of bits: Sluice's packed formats, its planes at each width and, where CMake has found ggml
(-Dggml_ROOT=PREFIX), llama.cpp's kernels, in tables. Standard library only, Linux.

    cmake --preset release -DSLUICE_BENCHMARKS=ON -Dggml_ROOT=PREFIX && cmake --build --preset release
    bench/compare_kernels.py [--cases 768x2048/1/2,768x2048/4/2] [--rounds 5] [--only 'Q4|q4']

A case is weight rows x columns / activation rows / threads. A round runs kernel_bench once for every number of bits, in a process that measures
Sluice's packed Q8_0 and Q4_0 beside (--beside): `x Q8_0` is weights a second against those of the same process, with its extremes over rounds.
`of memory` is the share of what as many threads read that do nothing else with the same bytes, measured just before. All else are medians."""

import argparse
import re
import statistics
import sys

sys.dont_write_bytecode = True
from measuring import ProcessorWatch, run_json, run_text  # noqa: E402

# kind/format/rows x columns/activation rows/threads
NAME = re.compile(r"(?P<kind>decode|prefill|ggml|ggml_repacked)/(?P<format>(Q|IQ|TQ|MXFP|nested_)\w+)/(?P<case>(?P<rows>\d+)x(?P<columns>\d+)/\d+/\d+)/real_time")


class Kernel:
    """A benchmark, and what rounds have found."""

    def __init__(self, match):
        self.name, self.case = match[0], match["case"]
        self.weights = int(match["rows"]) * int(match["columns"])
        ours = match["kind"] in ("decode", "prefill")
        width = re.search(r"_w(\d)$", match["format"])
        self.packed = match["format"] if ours and not width else None
        self.bits = int(width[1] if width else re.search(r"\d", match["format"])[0])
        self.order = (self.bits, 0 if self.packed else 1 if ours else 2, match["format"], match["kind"])
        self.label = match["format"] if ours else f"{match['kind'].replace('_', ' ')} {match['format']}"
        self.found, self.ratios = [], {}

    def median(self, key):
        return statistics.median(one[key] for one in self.found)

    def row(self, beside):
        speed = self.median("matrices/s")
        matrix_bytes = round(1e9 * self.found[0]["GB/s"] / self.found[0]["matrices/s"])
        share = f"{100 * self.median('of_memory'):.0f} %" if "of_memory" in self.found[0] else "–"
        ratios = [self.ratios.get(name) for name in beside]
        cells = [self.bits, self.label, f"{8 * matrix_bytes / self.weights:.2f}", f"{1e6 / speed:.1f}", f"{self.median('GB/s'):.3g}", share,
                 f"{speed * self.weights / 1e9:.3g}", *(f"{statistics.median(of):.2f} ({min(of):.2f} to {max(of):.2f})" if of else "–" for of in ratios)]
        return f"| {' | '.join(map(str, cells))} |"


def measure(args, kernels):
    """Once each, in one process: {name: what was counted}, and what that process says of itself."""
    command = [args.program, "--benchmark_format=json", f"--benchmark_min_time={args.seconds}", f"--benchmark_filter=^({'|'.join(one.name for one in kernels)})$"]
    result = run_json(command)
    for found in result["benchmarks"]:
        if found.get("error_occurred"):
            sys.exit(f"{found['name']}: {found['error_message']}")
    return {found["name"]: found for found in result["benchmarks"]}, result["context"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/bench/kernel_bench")
    parser.add_argument("--cases", default="768x2048/1/2,768x2048/4/2,2048x2048/512/2")
    parser.add_argument("--only", default="", help="a regular expression: kernels whose names have it")
    parser.add_argument("--beside", default="Q8_0,Q4_0", help="packed formats that all are held against")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="how long each is timed in a round, at least")
    args = parser.parse_args()
    beside = args.beside.split(",")

    known = [Kernel(match) for match in map(NAME.fullmatch, run_text([args.program, "--benchmark_list_tests"]).split()) if match]
    cases = {}
    for case in args.cases.split(","):
        of_case = [one for one in known if one.case == case]
        cases[case] = sorted((one for one in of_case if re.search(args.only, one.name)), key=lambda one: one.order), {one.packed: one for one in of_case if one.packed}
        if not cases[case][0]:
            sys.exit(f"{args.program} measures nothing for {case}" + (f" that has {args.only}" if args.only else ""))
        for name in beside:
            if name not in cases[case][1]:
                sys.exit(f"{args.program} has no packed {name} for {case}")

    watch, context = ProcessorWatch(), {}
    for number in range(args.rounds):
        for case, (kernels, packed) in cases.items():
            for bits in sorted({one.bits for one in kernels}):
                print(f"round {number + 1} of {args.rounds}, {case}, {bits} bits", file=sys.stderr)
                equal = [one for one in kernels if one.bits == bits]
                found, context = measure(args, [*{one.name: one for one in [*(packed[name] for name in beside), *equal]}.values()])
                for one in equal:
                    one.found.append(found[one.name])
                    for name in beside:
                        one.ratios.setdefault(name, []).append(found[one.name]["matrices/s"] / found[packed[name].name]["matrices/s"])

    for name in ("sluice", "ggml"):
        print(f"{name}: {context.get(name, 'not built in')}  ")
    print(f"others had {100 * watch.elsewhere():.0f} % of the processors\n")
    for case, (kernels, _) in cases.items():
        shape, rows, threads = case.split("/")
        memory = [found["memory_GB/s"] for one in kernels for found in one.found if "memory_GB/s" in found]
        read = f"; memory {statistics.median(memory):.1f} GB/s ({min(memory):.1f} to {max(memory):.1f})" if memory else ""
        print(f"### {shape}, activation rows: {rows}, threads: {threads}{read}\n")
        head = ["bits", "kernel", "bits/weight", "µs/matrix", "GB/s", "of memory", "weights/ns", *(f"x {name}" for name in beside)]
        print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
        print("\n".join(one.row(beside) for one in kernels) + "\n")


if __name__ == "__main__":
    main()
