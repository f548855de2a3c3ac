#!/usr/bin/env python3
"""What reading ahead is worth: decoding with each prediction beside decoding without, in pairs, from a disk that is really read.

    bench/compare_prediction.py MODEL... [--sluice build/release/sluice] [-r 5] [--json RECORD] [--shares 25,50,75] [-p 64] [-n 64] [--block 8]
                                [--routing TRACE [--guess-recall 0.85]] [--kinds across-layers,before-attention,both,affinity,popularity,auto]
    bench/compare_prediction.py MODEL... --warm TEXT [-p 64] [-n 1] …

A round runs `sluice bench --alternate` once with each kind, for every model and share of memory, in an order that is drawn anew each time (--seed). A
process decodes n tokens four times, after n that are not counted, in blocks of --block tokens with the prediction and without by turns: every two blocks are
a pair, and those of all rounds count alike. Its disk's bandwidth is measured just before. With --routing the kinds across-layers, before-attention, both and
auto are left: all guess by the trace then and differ in when and what they read.

Both blocks of a pair have the same cache: what one has read, or given up for a wrong guess, is there or missing for the other, too. So this is what reading
ahead saves where the cache holds the same; what it does to the cache in the long run shows in hits and bytes of whole runs, `sluice bench --predict KIND`,
which no noise touches. Longer blocks (--block) have more of it.

--warm measures the beginning of a run instead: `sluice run` on about p tokens of TEXT with an answer of n (1: the prompt alone), cold or with the hot set
that a run on the text before it left, a pair a round. It needs a model with a tokenizer.

Memory: a share of 50 % is the --ram with which `sluice info --json` plans an expert cache of half of the experts' bytes, for the same context and
threads. It begins with the smallest budget plus what the cache lacks and adds what the plan's cache still lacks (wider passes take some) until it is
there within 0.1 %; so dense weights, KV cache and scratch come on top of the share. What a trace takes comes out of the cache; the table says what was left.
No run begins whose --ram is more than sluice would take unasked: what is free, less a margin.

Quiet: the model's pages are dropped from the page cache before each run (reads are direct where the file system allows it; a note says if not), and the load
average and the share of the processors that others used are kept with each run.

The table has medians over rounds of decoding (with --warm of all), each kind below what was measured beside it: counts of experts, `waiting` as share of the
time and against the base's, `of the disk` = (bytes read less those in vain) / (disk's bandwidth in that process) / seconds. The ratio is the geometric mean
over pairs with Student's interval on the logarithms; the verdict holds its lower end against --limit. --json keeps every run as soon as it is done: the same
command goes on where it was stopped.
"""

import argparse
import contextlib
import hashlib
import math
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from measuring import ProcessorWatch, drop_cache, run_json  # noqa: E402
from paired_summary import Pairs, markdown, summarise  # noqa: E402
from run_record import RecordError, RunRecord  # noqa: E402

KINDS = ["across-layers", "before-attention", "both", "affinity", "popularity", "auto"]
KINDS_OF_A_TRACE = ["across-layers", "before-attention", "both", "auto"]


class Model:
    """A file, and what `sluice info` says of it under the options of the runs."""

    def __init__(self, args, path, context):
        self.args, self.path = args, path
        self.options = ["--ctx", str(context), *(["--threads", str(args.threads)] if args.threads else [])]
        self.unasked = self.info()
        if "plan" not in self.unasked:
            sys.exit(f"{path} is not run: {self.unasked['unsupported']}")
        if self.unasked["expert_count"] == 0:
            sys.exit(f"{path} has no experts that could be read ahead")
        if not self.unasked["reader"]["direct"]:
            print(f"note: {path} is read through the page cache ({self.unasked['reader']['why']}): its speeds are not the disk's", file=sys.stderr)

    def info(self, *arguments):
        return run_json([self.args.sluice, "info", self.path, "--json", *self.options, *arguments])

    def check_free(self, ram):
        free = self.info()["plan"]["ram"]
        if ram > free:
            sys.exit(f"{self.path}: --ram {ram} is more than the {free} bytes that are free: make room, or leave out this share (--shares)")

    def ram_for(self, share):
        """The --ram whose plan caches `share` of the experts' bytes."""
        target = share * self.unasked["expert_bytes"]
        ram = self.unasked["min_ram"]
        plan = self.info("--ram", str(ram))["plan"]
        if plan["expert_cache"] > target * 1.001:
            sys.exit(f"{self.path}: the smallest budget, {ram} bytes, already caches {100 * plan['expert_cache'] / self.unasked['expert_bytes']:.1f} % of the "
                     f"experts: ask for a greater share than {100 * share:g} (--shares)")
        for _ in range(50):
            lacking = target - plan["expert_cache"]
            if abs(lacking) <= 0.001 * target:
                return ram
            ram += math.ceil(lacking)
            plan = self.info("--ram", str(ram))["plan"]
        # Where a wider pass begins, the cache shrinks by a step that no budget lands on.
        print(f"note: {self.path}: no budget caches {100 * share:g} %; --ram {ram} caches "
              f"{100 * plan['expert_cache'] / self.unasked['expert_bytes']:.1f} %", file=sys.stderr)
        return ram


class Predictions:
    """Runs of `bench` that decode with a prediction and without by turns."""

    base = "off"
    REPETITIONS = 4  # of n tokens in a process

    def __init__(self, args):
        self.args = args
        self.kinds = args.kinds

    def pairs(self, record, case):
        return {kind: Pairs.of_alternations([run["result"] for run in record.of(case, kind).values()]) for kind in self.kinds}

    def context(self, path):
        return self.args.p + self.args.n

    def command(self, model, ram, kind, number):
        args = self.args
        routing = ["--routing", args.routing, "--guess-recall", str(args.guess_recall)] if args.routing else []
        seed = args.seed + number  # other tokens, and another order of the blocks
        return [args.sluice, "bench", model.path, "--json", "-r", str(self.REPETITIONS), "-p", str(args.p), "-n", str(args.n), "--alternate", str(args.block),
                "--seed", str(seed), "--ram", str(ram), "--predict", kind, *model.options, *routing]

    def title(self, path, share):
        routing = f"routing of {self.args.routing}, {100 * self.args.guess_recall:g} % guessed" if self.args.routing else "the model's own routing"
        return f"{pathlib.Path(path).name}, {100 * share:g} % in memory, {routing}"


class WarmStarts:
    """Pairs of `run` from the start, cold and with a hot set that a run on other text left."""

    base = "cold"
    kinds = ["cold", "warm"]
    LEFT_BY = 64  # tokens that the earlier run answers

    def __init__(self, args, folder):
        self.args, self.folder = args, pathlib.Path(folder)
        text = pathlib.Path(args.warm).read_text(errors="replace")
        characters = 4 * args.p  # of English, a token has about four
        if len(text) < 2 * characters:
            sys.exit(f"{args.warm}: {len(text)} characters are too few for two prompts of {args.p} tokens (of about four): give a longer text, or a smaller -p")
        self.before, self.prompt = text[:characters], text[characters:2 * characters]

    def pairs(self, record, case):
        cold, warm = (record.of(case, kind) for kind in self.kinds)
        return {"warm": Pairs.of_runs([(warm[number]["result"], cold[number]["result"]) for number in sorted(warm.keys() & cold.keys())])}

    def context(self, path):
        lengths = [len(run_json([self.args.sluice, "tokenize", path, "--json", "--bos", "--text", text])) for text in (self.before, self.prompt)]
        return max(lengths) + max(self.args.n, self.LEFT_BY)

    def command(self, model, ram, kind, _):
        hot = self.folder / f"{hashlib.sha256(model.path.encode()).hexdigest()[:16]}-{ram}"
        if kind == "cold":
            return self._run(model, ram, self.prompt, self.args.n, "off")
        if not hot.exists():
            run_json(self._run(model, ram, self.before, self.LEFT_BY, hot))
        copy = self.folder / "hot"  # a run writes anew what it read
        shutil.copy(hot, copy)
        return self._run(model, ram, self.prompt, self.args.n, copy)

    def title(self, path, share):
        return f"{pathlib.Path(path).name}, {100 * share:g} % in memory, prompt and {self.args.n} tokens from the start"

    def _run(self, model, ram, text, count, hot):
        return [self.args.sluice, "run", model.path, "--json", "--ram", str(ram), "--warm", str(hot), "-p", text, "-n", str(count), "--temp", "0",
                "--ignore-eos", *model.options]


class Comparison:
    def __init__(self, args, subject):
        self.args, self.subject = args, subject
        self.models = {path: Model(args, path, subject.context(path)) for path in args.models}
        self.cases = {f"{path} {100 * share:g} %": (path, share) for path in args.models for share in args.shares}
        self.rams = {case: self.models[path].ram_for(share) for case, (path, share) in self.cases.items()}
        for case, (path, _) in self.cases.items():
            self.models[path].check_free(self.rams[case])
        self.record = RunRecord(args.json, self._settings(), subject.kinds)

    def measure(self):
        if self.record.dropped:
            print(f"the round that was interrupted begins anew: {self.record.dropped} runs dropped", file=sys.stderr)
        for number in range(self.args.r):
            for case in self.cases:
                if not self.record.has_block(case, number):
                    self._block(case, number)

    def report(self):
        summaries = []
        for case, (path, share) in self.cases.items():
            runs = [run for kind in self.subject.kinds for run in self.record.of(case, kind).values()]
            summaries.append(summarise(case, self.subject.base, runs, self.subject.pairs(self.record, case), self.args.limit))
            print(markdown(summaries[-1], self.subject.title(path, share), self.models[path].unasked["expert_bytes"]), flush=True)
        self.record.save(summary=without_nan(summaries))

    def _settings(self):
        """What makes runs comparable; all but the number of rounds."""
        args = self.args
        files = {file: [os.stat(file).st_size, os.stat(file).st_mtime_ns] for model in self.models.values() for file in model.unasked["files"]}
        return {"sluice": hashlib.sha256(pathlib.Path(args.sluice).read_bytes()).hexdigest(), "files": files, "shares": args.shares, "threads": args.threads,
                "p": args.p, "n": args.n, "block": args.block, "kinds": self.subject.kinds, "seed": args.seed, "routing": args.routing,
                "guess_recall": args.guess_recall, "warm": args.warm, "rams": self.rams}

    def _block(self, case, number):
        kinds = list(self.subject.kinds)
        random.Random(f"{self.args.seed} {pathlib.Path(case).name} {number}").shuffle(kinds)  # wherever the file lies
        for kind in kinds:
            path, _ = self.cases[case]
            run = self._run(self.models[path], self.rams[case], kind, number)
            self.record.add({"case": case, "round": number, "kind": kind, **run})
            print(f"round {number + 1} of {self.args.r}, {case}, {kind}: load {run['load']:.1f}, others {100 * run['elsewhere']:.0f} %", file=sys.stderr)

    def _run(self, model, ram, kind, number):
        command = self.subject.command(model, ram, kind, number)
        model.check_free(ram)
        for file in model.unasked["files"]:
            drop_cache(file)
        begun, load, watch = time.time(), os.getloadavg()[0], ProcessorWatch()
        result = run_json(command)
        return {"ram": ram, "command": command, "time": begun, "load": load, "elsewhere": watch.elsewhere(), "result": result}


def without_nan(value):
    """JSON has no such number."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--sluice", default="build/release/sluice")
    parser.add_argument("--shares", default="25,50,75", help="percent of the experts' bytes in memory")
    parser.add_argument("--kinds", help="of prediction, without off")
    parser.add_argument("--routing", help="a trace that tokens follow")
    parser.add_argument("--guess-recall", type=float, help="with --routing: how many of the experts are guessed rightly (default: 0.85)")
    parser.add_argument("--warm", metavar="TEXT", help="a file with text; cold and warm starts instead of predictions")
    parser.add_argument("-p", type=int, default=64, help="tokens of the prompt")
    parser.add_argument("-n", type=int, help="tokens to decode (default: 64, with --warm 1)")
    parser.add_argument("--block", type=int, help="tokens between switches (default: 8)")
    parser.add_argument("-r", type=int, default=5, help="rounds")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=0.97, help="what the ratio's interval must not go below")
    parser.add_argument("--json", metavar="RECORD", help="keeps every run; goes on where it was stopped")
    args = parser.parse_args()
    check(parser, args)
    return args


def check(parser, args):
    try:
        args.shares = [float(share) / 100 for share in args.shares.split(",")]
    except ValueError:
        parser.error(f"--shares {args.shares}: percent with commas between, such as 25,50,75")
    if not all(0 < share <= 1 for share in args.shares):
        parser.error("--shares are percent, above 0 and at most 100")
    if args.warm and (args.kinds or args.routing or args.guess_recall is not None or args.block is not None):
        parser.error("--warm takes the prediction and the routing as they are: --kinds, --routing, --guess-recall and --block do not go with it")
    if args.guess_recall is not None and not args.routing:
        parser.error("--guess-recall needs --routing")
    args.guess_recall = 0.85 if args.guess_recall is None else args.guess_recall
    if not 0 <= args.guess_recall <= 1:
        parser.error("--guess-recall is between 0 and 1")
    args.kinds = args.kinds.split(",") if args.kinds else KINDS_OF_A_TRACE if args.routing else KINDS
    for kind in args.kinds:
        if kind not in KINDS:
            parser.error(f"--kinds {kind}: choose from {', '.join(KINDS)}")
    for name, items in (("--kinds", args.kinds), ("--shares", args.shares), ("MODEL", args.models)):
        if len(set(items)) < len(items):
            parser.error(f"{name}: something is there twice")
    if args.n is None:
        args.n = 1 if args.warm else 64
    args.block = 8 if args.block is None else args.block
    for name, least in (("p", 1 if args.warm else 0), ("n", 1), ("r", 1), ("threads", 1), ("block", 1)):
        if getattr(args, name) is not None and getattr(args, name) < least:
            parser.error(f"-{'-' if len(name) > 1 else ''}{name} must be at least {least}")
    if not args.warm and args.n % (2 * args.block) != 0:
        parser.error(f"-n {args.n} is no multiple of {2 * args.block}, a pair of blocks (--block)")
    if not os.access(args.sluice, os.X_OK) or not os.path.isfile(args.sluice):
        parser.error(f"--sluice {args.sluice} is no program: build it, or say where it is")
    for path in filter(None, [*args.models, args.routing, args.warm]):
        if not os.path.exists(path):
            parser.error(f"{path}: no such file")


def main():
    args = arguments()
    for stop in (signal.SIGINT, signal.SIGTERM):  # the run under way is ended and what was measured is shown
        signal.signal(stop, lambda number, _: sys.exit(128 + number))
    with contextlib.ExitStack() as stack:
        subject = WarmStarts(args, stack.enter_context(tempfile.TemporaryDirectory())) if args.warm else Predictions(args)
        comparison = Comparison(args, subject)
        try:
            comparison.measure()
        finally:
            comparison.report()


if __name__ == "__main__":
    try:
        main()
    except RecordError as error:
        sys.exit(str(error))
