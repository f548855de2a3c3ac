#!/usr/bin/env python3
"""Prints how cache policies compare on a recorded routing: hit rates in decode, and how much of the way from LRU to Belady
each one goes, as Markdown tables. Standard library only.

usage: policy_table.py SLUICE TRACE [--count-from STEP] [--capacity 10%,20%] [--policy lru,auto,belady]
"""

import argparse
import json
import subprocess

POLICIES = "lru,lfu,lfru,arc,s3fifo,mrs,edgemoe,fate,adapmoe,decayed,mixed,paths,learned,auto,belady"


def simulate(arguments):
    command = [arguments.sluice, "simulate", arguments.trace, "--json", "--policy", arguments.policy,
               "--capacity", arguments.capacity, "--count-from", str(arguments.count_from)]
    rows = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    rates = {}
    for row in rows:
        rates.setdefault(row["policy"], {})[row["capacity"]] = 100 * row["decode_hit_rate"]
    return rates


def closed(rate, lru, belady):
    """How much of LRU's distance to Belady is gone, in %; none where there is no distance."""
    return f"{100 * (rate - lru) / (belady - lru):.0f}" if belady - lru > 0.005 else "–"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("sluice")
    parser.add_argument("trace")
    parser.add_argument("--count-from", type=int, default=0)
    parser.add_argument("--capacity", default="10%,20%,30%,40%,50%,70%")
    parser.add_argument("--policy", default=POLICIES)
    arguments = parser.parse_args()
    rates = simulate(arguments)
    capacities = list(next(iter(rates.values())))
    print("| decode hit rate, % (closed of LRU to Belady, %) | " + " | ".join(capacities) + " |")
    print("|---|" + "---|" * len(capacities))
    for policy, row in rates.items():
        cells = []
        for capacity in capacities:
            cell = f"{row[capacity]:.2f}"
            if "lru" in rates and "belady" in rates and policy not in ("lru", "belady"):
                cell += f" ({closed(row[capacity], rates['lru'][capacity], rates['belady'][capacity])})"
            cells.append(cell)
        print(f"| {policy} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
