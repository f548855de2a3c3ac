#!/usr/bin/env python3
"""Tells a story with a model whose experts stay on disk, then tabulates runs under several memory budgets.

usage: budget_demo.py SLUICE MODEL
"""

import json
import os
import subprocess
import sys

PROMPT = "Once upon a time, there was a little fox who lived in the forest. One day,"
TOKENS = 200
CONTEXT = 512
MIB = 1 << 20

# What the budget has beyond the smallest that works, as a share of all experts' bytes; the last holds every expert (a cached
# expert takes up to a few disk sectors more than its bytes).
STORY_SHARE = 0.25
SHARES = (0.0, 0.125, 0.25, 0.5, 1.5)


def run(program, verb, model, *options, **keywords):
    """Runs a verb quietly; should it fail, its messages are shown and this program ends."""
    command = [program, verb, model, "--ctx", str(CONTEXT), *options]
    cold = {**os.environ, "SLUICE_WARM": "off"}  # a row is what its budget brings, not what the last one left
    done = subprocess.run(command, stderr=subprocess.PIPE, check=False, env=cold, **keywords)
    if done.returncode != 0:
        sys.stderr.buffer.write(done.stderr)
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}")
    return done


def sluice_json(program, verb, model, *options):
    return json.loads(run(program, verb, model, "--json", *options, stdout=subprocess.PIPE).stdout)


def story_options(ram):
    return ["-p", PROMPT, "-n", str(TOKENS), "--seed", "1", "--temp", "0.6", "--top-p", "0.9", "--ram", str(ram)]


def tell_story(program, model, ram, info):
    print(f"{model}: {info['expert_bytes'] / MIB:.1f} MiB of experts on disk; "
          f"this story is told with --ram {ram / MIB:.1f}M, all of the process included.\n", flush=True)
    run(program, "run", model, *story_options(ram))
    print(flush=True)


def table_row(program, model, ram):
    result = sluice_json(program, "run", model, *story_options(ram))
    experts, memory = result["experts"], result["memory"]
    hit_rate = experts["hits"] / max(experts["requests"], 1)
    row = (f"{memory['ram_budget'] / MIB:.1f} MiB", f"{memory['peak_rss'] / MIB:.1f} MiB", f"{100 * hit_rate:.1f} %",
           f"{experts['bytes_read'] / MIB:.1f} MiB", f"{result['timings']['decode_tok_s']:.1f}")
    return row, result["tokens"]


def print_row(row):
    print("".join(f"{cell:>18}" for cell in row), flush=True)


def main():
    program, model = sys.argv[1:]
    info = sluice_json(program, "info", model)
    budget = {share: info["min_ram"] + int(share * info["expert_bytes"]) for share in {STORY_SHARE, *SHARES}}
    tell_story(program, model, budget[STORY_SHARE], info)

    print_row(("budget (--ram)", "peak RSS", "expert hit rate", "bytes read", "tokens/s"))
    stories = set()
    for share in SHARES:
        row, tokens = table_row(program, model, budget[share])
        print_row(row)
        stories.add(tuple(tokens))
    if len(stories) != 1:
        sys.exit("The stories differ between budgets: this is a bug, please report it.")
    print("\nThe same story, token for token, under every budget.")


if __name__ == "__main__":
    main()
