"""bench/compare_prediction.py: its statistics, what it reports of runs with known numbers, how it stops and goes on, and that it measures the bundled model.
Standard library only."""

import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests" / "apps")]
from command import MODEL, SLUICE, STORY, Folder  # noqa: E402
from paired_ratio import PairedRatio, t_quantile  # noqa: E402

SCRIPT = ROOT / "bench" / "compare_prediction.py"

# Plans a cache of what exceeds 1000 bytes, of which a wider pass takes a quarter from 3000 on. A line of calls.jsonl for each measured run.
FAKE = f"""#!{sys.executable}
import json, os, pathlib, sys, time
verb = sys.argv[1]
words = [word for word in sys.argv[2:] if word != "--json"]
options = dict(zip(words[1::2], words[2::2]))
here = pathlib.Path(__file__).parent
ram = int(options.get("--ram", os.environ.get("FREE", "1000000")))
spare = ram - 1000
cache = spare - (spare - 2000) // 4 if spare > 2000 else spare
if verb == "info":
    print(json.dumps({{"files": [words[0]], "expert_bytes": 10000, "expert_count": 4, "min_ram": 1100, "reader": {{"direct": True}},
                      "plan": {{"ram": ram, "expert_cache": cache}}}}))
    sys.exit()
with open(here / "calls.jsonl", "a") as calls:
    calls.write(json.dumps([options, cache]) + "\\n")
number = len((here / "calls.jsonl").read_text().splitlines())
if number == int(os.environ.get("HANG", 0)):
    time.sleep(600)
if number == int(os.environ.get("FAIL", 0)):
    sys.exit("the disk is gone")
seen = [json.loads(line)[0] for line in (here / "calls.jsonl").read_text().splitlines()]
turn = sum((call["--predict"], call["--ram"]) == (options["--predict"], options["--ram"]) for call in seen) - 1


def phase(foretold):
    experts = {{"requests": 100, "hits": 60, "loads": 40, "expected": 25, "expected_rightly": 20, "late": 3, "wasted": 10, "warmed": 0, "hit_rate": 0.6,
               "bytes_read": 4 << 20, "wait_ms": 400}}
    if foretold:
        experts["wait_ms"] = 100
    else:
        experts |= {{"expected": 0, "expected_rightly": 0, "late": 0, "wasted": 0}}
    return {{"tok_s": 11 if foretold else 10, "seconds": 1, "experts": experts}}


# The rounds' pairs are 1 and 1.1 times as fast, 1.1 and 1.21 times, 1 and 1.1 times, …
faster = [1.1 ** (turn % 2), 1.1 ** (turn % 2 + 1)]
blocks = [{{"foretold": True, "seconds": 1 / faster[0]}}, {{"foretold": False, "seconds": 1}},
          {{"foretold": False, "seconds": 2}}, {{"foretold": True, "seconds": 2 / faster[1]}}]
print(json.dumps({{"ceilings": {{"disk_read_gbs": 0.008388608}}, "memory": {{"expert_cache": cache}},
                  "alternate": {{"with": phase(True), "without": phase(False), "blocks": blocks}}}}))
"""


class PairedRatioTest(unittest.TestCase):
    def test_quantiles_are_the_published_ones(self):
        table = {1: (12.706, 63.657), 2: (4.303, 9.925), 3: (3.182, 5.841), 4: (2.776, 4.604), 5: (2.571, 4.032), 9: (2.262, 3.250), 10: (2.228, 3.169),
                 30: (2.042, 2.750), 60: (2.000, 2.660), 120: (1.980, 2.617)}
        for freedom, (at_95, at_99) in table.items():
            self.assertAlmostEqual(t_quantile(freedom), at_95, delta=0.0005)
            self.assertAlmostEqual(t_quantile(freedom, 0.99), at_99, delta=0.0005)

    def test_an_interval_by_hand(self):
        """Logarithms 0, L and 2 L with L = ln 1.1: mean L, deviation L, so L ± 4.302653 L / √3."""
        ratio = PairedRatio.of([1.1 ** 2, 1.0, 1.1])
        self.assertEqual((ratio.pairs, ratio.median), (3, 1.1))
        self.assertAlmostEqual(ratio.mean, 1.1)
        self.assertAlmostEqual(ratio.low, 0.868095, places=5)
        self.assertAlmostEqual(ratio.high, 1.393853, places=5)

    def test_verdicts(self):
        self.assertEqual(PairedRatio.of([1.0, 1.0, 1.0]).verdict(0.97), "not below 0.97")
        self.assertEqual(PairedRatio.of([0.97 + 1e-9] * 2).verdict(0.97), "not below 0.97")
        self.assertEqual(PairedRatio.of([0.9, 0.9]).verdict(0.97), "below 0.97")
        self.assertEqual(PairedRatio.of([0.9, 1.1]).verdict(0.97), "undecided")
        one = PairedRatio.of([2.0])
        self.assertTrue(math.isnan(one.low))
        self.assertEqual(one.verdict(0.97), "one pair says nothing")


class Case(Folder):
    def setUp(self):
        super().setUp()
        self.record = self.folder / "record.json"

    def rows(self, text):
        """[{column: cell}] of every table."""
        tables, heads = [], None
        for line in text.splitlines():
            parts = [cell.strip() for cell in line.strip("|").split("|")]
            if not line.startswith("|"):
                heads = None
            elif heads is None:
                heads = parts
                tables.append([])
            elif not set(line) <= set("|- "):
                tables[-1].append(dict(zip(heads, parts)))
        return tables


class KnownRuns(Case):
    def setUp(self):
        super().setUp()
        self.program, self.model = self.folder / "sluice", self.folder / "model"
        self.program.write_text(FAKE)
        self.program.chmod(0o755)
        self.model.write_bytes(bytes(100))

    def command(self, *arguments):
        return [sys.executable, str(SCRIPT), str(self.model), "--sluice", str(self.program), "--kinds", "auto", "--shares", "15,50", "-r", "3", "--json",
                str(self.record), *map(str, arguments)]

    def compare(self, *arguments, **environment):
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=120, env={**os.environ, **environment})

    def calls(self):
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def test_the_table_says_what_the_runs_said(self):
        done = self.compare()
        self.assertEqual(done.returncode, 0, done.stderr)
        tables = self.rows(done.stdout)
        self.assertEqual([[row["kind"] for row in table] for table in tables], [["off", "auto"]] * 2)
        off, auto = tables[0]
        self.assertEqual((off["tokens/s"], off["MiB read"], off["waiting (against off)"], off["hits"]), ("10.00", "4.0", "40.0 %", "60.0 %"))
        self.assertEqual([auto[name] for name in ("foretold", "rightly", "late", "in vain")], ["25", "20", "3", "10"])
        self.assertEqual(auto["waiting (against off)"], "10.0 % (−75.0 %)")
        self.assertEqual(auto["of the disk"], "37.5 %")  # 3 of 4 MiB were wanted; the disk would give 8 in that second
        # Logarithms 0, L, L, 2 L, 0 and L with L = ln 1.1: mean 5 L / 6, squares from it 17 L² / 6, and Student's 2.570582 of five degrees.
        self.assertEqual([auto[name] for name in ("tokens/s", "pairs", "× off", "95 %", "median", "verdict")],
                         ["11.00", "6", "1.083", "1.004 to 1.167", "1.100", "not below 0.97"])
        self.assertIn("off computes for 1.20 of the time", done.stdout)  # 0.6 s, and 4 MiB are half a second

        record = json.loads(self.record.read_text())
        self.assertEqual(len(record["runs"]), 6)
        self.assertAlmostEqual(record["summary"][0]["kinds"]["auto"]["ratio"]["mean"], 1.1 ** (5 / 6))
        self.assertEqual(record["summary"][0]["kinds"]["auto"]["off"]["waiting"], 0.4)

    def test_the_budget_caches_the_share(self):
        self.compare("-r", 1)
        caches = {cache for _, cache in self.calls()}
        self.assertEqual(len(caches), 2)
        for cache, wanted in zip(sorted(caches), (1500, 5000)):
            self.assertAlmostEqual(cache, wanted, delta=wanted / 1000)
        self.assertEqual({options["--ctx"] for options, _ in self.calls()}, {"128"})

    def test_each_round_has_its_order(self):
        self.compare("-r", 6, "--shares", 50, "--kinds", "auto,both")
        kinds = [options["--predict"] for options, _ in self.calls()]
        rounds = [tuple(kinds[i:i + 2]) for i in range(0, 12, 2)]
        self.assertEqual(set(rounds), {("both", "auto"), ("auto", "both")})
        seeds = [options["--seed"] for options, _ in self.calls()]  # of tokens, and of the blocks' order
        self.assertEqual((seeds[::2], len(set(seeds))), (seeds[1::2], 6))
        self.record.unlink()
        self.compare("-r", 6, "--shares", 50, "--kinds", "auto,both")
        self.assertEqual([options["--predict"] for options, _ in self.calls()][12:], kinds)  # the seed's

    def test_the_runs_alternate(self):
        self.compare("-r", 1, "--block", 4)
        self.assertEqual({(options["--alternate"], options["-n"], options["-r"]) for options, _ in self.calls()}, {("4", "64", "4")})

    def interrupted(self, number):
        """By a signal while the sixth run is under way."""
        with subprocess.Popen(self.command("--kinds", "auto,both"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "HANG": "6"}) as process:
            end = time.monotonic() + 60
            while time.monotonic() < end and len(self.calls()) < 6:
                time.sleep(0.02)
            process.send_signal(number)
            said, complaint = process.communicate(timeout=60)
        self.assertEqual((process.returncode, "Traceback" in complaint), (128 + number, False), complaint)
        return said

    def test_an_interrupted_comparison_shows_what_it_has_and_goes_on(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            first, second = self.rows(self.interrupted(number))
            # Five runs: a round of both cases, and one of two.
            self.assertEqual(sorted(row["pairs"] for row in first), ["", "", "2", "4"])
            self.assertEqual(sorted(row["pairs"] for row in second), ["", "", "2", "2"])
            self.assertEqual(len(json.loads(self.record.read_text())["runs"]), 5)
            done = self.compare("--kinds", "auto,both")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("1 runs dropped", done.stderr)
            self.assertEqual(len(self.calls()), 6 + 8)
            runs = json.loads(self.record.read_text())["runs"]
            self.assertEqual(len({(run["case"], run["round"], run["kind"]) for run in runs}), 12)
            self.assertEqual(len(runs), 12)
            self.compare("--kinds", "auto,both")
            self.assertEqual(len(self.calls()), 14)  # nothing was left to do
            (self.folder / "calls.jsonl").unlink()
            self.record.unlink()

    def test_a_run_that_fails_loses_no_other(self):
        done = self.compare(FAIL="4")
        self.assertEqual(done.returncode, 1)
        self.assertIn("the disk is gone", done.stderr)
        self.assertEqual(len(self.rows(done.stdout)), 2)
        self.assertEqual(len(json.loads(self.record.read_text())["runs"]), 3)

    def test_other_settings_or_another_file_are_not_mixed_in(self):
        self.compare("-r", 1)
        kept = self.record.read_bytes()
        for arguments, words in ((("-n", 32), "n: 64 there, 32 here"), (("--block", 4), "block: 8 there"), (("--seed", 2), "seed"), (("--shares", 50), "shares")):
            done = self.compare(*arguments)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(words, done.stderr)
        self.assertEqual(self.record.read_bytes(), kept)
        for content in (b"mine", b"{}", b"{\"format\": 3}", b"\xff\x00", b"[1]"):
            self.record.write_bytes(content)
            done = self.compare()
            self.assertEqual((done.returncode, self.record.read_bytes()), (1, content))
            self.assertIn("left as it is", done.stderr)

    def test_what_is_not_free_is_not_used(self):
        done = self.compare(FREE="4000")
        self.assertEqual((done.returncode, done.stdout, self.calls()), (1, "", []))
        self.assertRegex(done.stderr, r"--ram \d+ is more than the 4000 bytes that are free")

    def test_wrong_usage(self):
        for arguments, words in ((("--shares", "0"), "above 0"), (("--shares", "half"), "--shares half"), (("--kinds", "lucky"), "lucky"),
                                 (("--kinds", "auto,auto"), "twice"), (("-r", 0), "-r must"), (("--guess-recall", "0.5"), "needs --routing"), (("-n", 24), "no multiple of 16"),
                                 (("--warm", STORY), "do not go with it"), (("--sluice", "none"), "no program"), (("--routing", "none"), "no such file")):
            done = self.compare(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertIn(words, done.stderr)
        self.assertEqual(self.calls(), [])


class RealRuns(Case):
    def compare(self, *arguments):
        done = subprocess.run([sys.executable, str(SCRIPT), MODEL, "--sluice", SLUICE, "-r", "1", "-p", "8", "-n", "24", "--shares", "30", "--json",
                               str(self.record), *map(str, arguments)], capture_output=True, text=True, timeout=240)
        self.assertEqual(done.returncode, 0, done.stderr)
        (table,) = self.rows(done.stdout)
        return {row["kind"]: row for row in table}, json.loads(self.record.read_text())["runs"]

    def test_predictions(self):
        rows, runs = self.compare("--block", 4)
        self.assertEqual(list(rows), ["off", "across-layers", "before-attention", "both", "affinity", "popularity", "auto"])
        self.assertEqual((rows["off"]["foretold"], rows["off"]["× off"]), ("0", "1"))
        self.assertGreater(int(rows["before-attention"]["foretold"]), 0)
        experts = {number: sum(layer["requests"] for layer in run["result"]["experts"]["layers"]) for number, run in enumerate(runs)}
        self.assertEqual(len(set(experts.values())), 1)  # the same tokens everywhere
        for run in runs:
            memory = run["result"]["memory"]
            self.assertLessEqual(memory["peak_rss"], run["ram"])
            self.assertAlmostEqual(memory["expert_cache"] / 15040512, 0.3, delta=0.01)
        for row in rows.values():
            self.assertGreater(float(row["tokens/s"]), 0)

    def test_a_recorded_routing(self):
        trace = self.folder / "trace"
        subprocess.run([SLUICE, "run", MODEL, "-p", "Once upon a time", "-n", "40", "--trace-routing", trace, "--warm", "off"], check=True, capture_output=True)
        rows, runs = self.compare("--block", 4, "--routing", trace, "--guess-recall", 0.9)
        self.assertEqual(list(rows), ["off", "across-layers", "before-attention", "both", "auto"])
        self.assertEqual({run["result"]["routing"]["guess_recall"] for run in runs}, {0.9})

    def test_warm_starts(self):
        rows, runs = self.compare("--warm", STORY, "-n", 20, "--shares", 100, "-r", 2)  # with room for what is read back, whatever the disk does
        self.assertEqual(list(rows), ["cold", "warm"])
        self.assertEqual({len(run["result"]["tokens"]) for run in runs}, {20})
        self.assertEqual(len({run["result"]["text"] for run in runs}), 1)
        warmed = {kind: [run["result"]["experts"]["warmed"] for run in runs if run["kind"] == kind] for kind in rows}
        self.assertEqual(warmed["cold"], [0, 0])
        self.assertGreater(sum(warmed["warm"]), 0)


if __name__ == "__main__":
    unittest.main()
