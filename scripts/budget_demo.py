#!/usr/bin/env python3
"""Tells a story with a model whose experts stay on disk, then tabulates runs under several memory budgets.

usage: budget_demo.py SLUICE MODEL
"""

import json
import subprocess
import sys

PROMPT = "Once upon a time, there was a little girl named Lily. She lived near a big forest. One day,"
TOKENS = 200
CONTEXT = 512
MIB = 1 << 20

# What the cache gets on top of the smallest budget that works, as a share of all experts' bytes.
STORY_SHARE = 0.25
SHARES = (0.0, 0.125, 0.25, 0.5, 1.0)


def sluice_json(program, verb, model, *options):
    """Runs a verb with --json and returns the object; its messages go to the terminal."""
    command = [program, verb, model, "--json", "--ctx", str(CONTEXT), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def story_options(ram):
    return ["-p", PROMPT, "-n", str(TOKENS), "--seed", "3", "--temp", "0.7", "--top-p", "0.9", "--ram", str(ram)]


def tell_story(program, model, ram, info):
    print(f"{model}: {info['expert_bytes'] / MIB:.1f} MiB of experts on disk; "
          f"this story is told with --ram {ram / MIB:.1f}M, all of the process included.\n", flush=True)
    print(PROMPT, end="", flush=True)
    subprocess.run([program, "run", model, "--ctx", str(CONTEXT), *story_options(ram)], check=True)
    print("\n")


def table_row(program, model, ram):
    run = sluice_json(program, "run", model, *story_options(ram))
    experts, memory = run["experts"], run["memory"]
    hit_rate = experts["hits"] / max(experts["requests"], 1)
    row = (f"{memory['ram_budget'] / MIB:.1f} MiB", f"{memory['peak_rss'] / MIB:.1f} MiB", f"{100 * hit_rate:.1f} %",
           f"{experts['bytes_read'] / MIB:.1f} MiB", f"{run['timings']['decode_tok_s']:.1f}")
    return row, run["tokens"]


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
