"""--skip and --prefer-resident: off unless asked for, named in warnings and reports, and refused where they mean nothing.
Standard library only."""

import pathlib
import re
import shutil
import sys
import unittest

sys.dont_write_bytecode = True
from command import MIB, MODEL, STORY, Folder, min_ram, sluice, sluice_json  # noqa: E402

PROMPT = "Once upon a time there was a lighthouse"
LAYERS, TOP_K = 6, 4


class Approximations(Folder):
    def setUp(self):
        super().setUp()
        self.text = self.folder / "text"
        self.text.write_text(pathlib.Path(STORY).read_text()[:6000])

    def run_model(self, *arguments):
        return sluice("run", MODEL, "-p", PROMPT, "-n", 24, "--temp", 0, "--ctx", 256, "--threads", 1, *arguments)

    def evaluate(self, *arguments, model=MODEL):
        return sluice_json("eval", model, "--text", self.text, "--ctx", 256, "--threads", 1, *arguments)

    def test_nothing_says_approximate_unless_it_was_asked_for(self):
        plain = self.run_model("--stats")
        self.assertNotIn(b"approximate", plain.stderr)
        for zero in (["--skip", 0], ["--prefer-resident", "0.0"], ["--skip", 0, "--prefer-resident", 0]):
            done = self.run_model("--stats", *zero)
            self.assertEqual((done.returncode, done.stdout), (0, plain.stdout))
            self.assertNotIn(b"approximate", done.stderr)
        report = self.evaluate()
        self.assertNotIn("approximations", report)
        self.assertNotIn("exact", report)

    def test_a_run_says_what_it_is_and_what_it_did(self):
        for arguments, words in ((["--skip", "0.2"], b"results are approximate: --skip 0.2"),
                                 (["--prefer-resident", "0.3"], b"results are approximate and not reproducible")):
            done = self.run_model("--quiet", "--stats", *arguments)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stderr.count(words), 1, done.stderr)
            self.assertIn(b"approximate: of ", done.stderr)
        for verb in ("run", "chat", "eval", "logits", "bench"):
            words = sluice(verb, "--help").stdout.decode()
            self.assertIn("--skip", words, verb)
            self.assertIn("NOT REPRODUCIBLE", words, verb)

    def test_an_evaluation_says_what_it_costs(self):
        plain = self.evaluate()
        chosen = LAYERS * TOP_K * len(self.tokens())
        before = None
        for skip in (0.05, 0.1, 0.3):
            report = self.evaluate("--skip", skip)
            self.assertEqual(report["exact"]["perplexity"], plain["perplexity"])
            self.assertEqual(report["exact"]["nll"], plain["nll"])
            self.assertEqual((plain["experts"]["exact"], report["experts"]["exact"]), (True, False))
            did = report["approximations"]
            self.assertEqual((did["chosen"], did["replaced"], did["calibrated"]), (chosen, 0, False))
            self.assertGreater(did["skipped"], before["approximations"]["skipped"] if before else 0)
            self.assertNotEqual(report["perplexity"], plain["perplexity"])
            before = report
        self.assertGreater(before["perplexity"], plain["perplexity"])
        words = sluice("eval", MODEL, "--text", self.text, "--ctx", 256, "--skip", "0.3").stdout.decode()
        self.assertIn(f"perplexity {before['perplexity']:.4f}", words)
        self.assertIn(f"without approximations {plain['perplexity']:.4f}", words)

    def tokens(self):
        return sluice_json("tokenize", MODEL, "--file", self.text)

    def test_what_cannot_be_read_twice_is_evaluated_once(self):
        with open(self.text, "rb") as text:
            report = sluice_json("eval", MODEL, "--text", "-", "--ctx", 256, "--skip", "0.2", stdin=text)
        self.assertNotIn("exact", report)
        self.assertGreater(report["approximations"]["skipped"], 0)

    def test_skipping_gives_the_same_text_under_every_budget(self):
        texts = {self.run_model("--skip", "0.3", "--ram", min_ram("--ctx", 256) + more * MIB).stdout for more in (0, 2, 30)}
        self.assertEqual(len(texts), 1)
        self.assertNotEqual(texts, {self.run_model().stdout})

    def test_preferring_reads_less(self):
        ram = min_ram("--ctx", 256, "--batch", 1) + 3 * MIB
        reports = {margin: self.evaluate("--batch", 1, "--ram", ram, "--predict", "off", "--prefer-resident", margin) for margin in (0, 0.5)}
        self.assertGreater(reports[0.5]["approximations"]["replaced"], 0)
        self.assertEqual(reports[0.5]["approximations"]["skipped"], 0)
        self.assertLess(reports[0.5]["experts"]["loads"], reports[0]["experts"]["loads"])
        self.assertGreater(reports[0.5]["experts"]["hit_rate"], reports[0]["experts"]["hit_rate"])
        self.assertEqual(reports[0.5]["exact"]["perplexity"], reports[0]["perplexity"])

    def test_a_calibration_says_how_sensitive_layers_are(self):
        model = self.folder / "copy.gguf"
        shutil.copy(MODEL, model)
        calibrate = ["calibrate", model, "--text", STORY, "--fit", 600, "--test", 100, "--threads", 1]
        measured = sluice_json(*calibrate, "--sensitivity", 300)["sensitivities"]
        self.assertEqual(len(measured), LAYERS)
        self.assertAlmostEqual(sum(measured), LAYERS, places=3)
        self.assertGreater(max(measured) / min(measured), 1.05)
        alike = self.evaluate("--skip", "0.1")
        for predict in ("auto", "off"):
            done = sluice("eval", model, "--text", self.text, "--ctx", 256, "--skip", "0.1", "--predict", predict, "--json")
            self.assertIn(b"its calibration", done.stderr)
            self.assertIn(b'"calibrated":true', done.stdout)
        report = self.evaluate("--skip", "0.1", model=model)
        self.assertNotEqual(report["approximations"]["skipped"], alike["approximations"]["skipped"])
        self.assertEqual(self.evaluate("--skip", "0.1", "--calibration", "", model=model)["perplexity"], alike["perplexity"])
        self.assertEqual(sluice_json(*calibrate, "--sensitivity", 0)["sensitivities"], [])
        self.assertEqual(self.evaluate("--skip", "0.1", model=model)["perplexity"], alike["perplexity"])

    def test_a_budget_without_room_for_the_calibration_is_refused_and_not_met_by_other_results(self):
        model = self.folder / "copy.gguf"
        shutil.copy(MODEL, model)
        sluice_json("calibrate", model, "--text", STORY, "--fit", 600, "--test", 100, "--threads", 1, "--sensitivity", 100)
        run = ["run", model, "-p", PROMPT, "-n", 24, "--temp", 0, "--ctx", 256, "--threads", 1]

        def least_of(refusal):
            return int(re.search(r"the smallest that works is (\d+) bytes", refusal.stderr.decode())[1])

        least = least_of(sluice(*run, "--ram", "1M"))
        self.assertEqual(sluice(*run, "--ram", least).returncode, 0)
        refused = sluice(*run, "--ram", least, "--skip", "0.3")
        self.assertEqual((refused.returncode, refused.stdout), (1, b""), refused.stderr)
        self.assertIn(b"copy.gguf.calibration", refused.stderr)
        enough = least_of(refused)
        texts = {sluice(*run, "--skip", "0.3", "--ram", ram).stdout for ram in (enough, enough + 30 * MIB)}
        self.assertEqual(len(texts), 1)
        self.assertNotIn(b"", texts)
        self.assertEqual(sluice(*run, "--skip", "0.3", "--ram", least, "--calibration", "").returncode, 0)

    def test_what_is_recorded_is_the_routers_choice(self):
        trace = self.folder / "trace"
        requests = {}
        for skip in (0, 0.3):
            sluice_json("logits", MODEL, "--ids", "5,6,7,8", "--out", self.folder / "x.npy", "--trace-routing", trace, "--skip", skip)
            requests[skip] = sluice_json("simulate", trace, "--policy", "lru", "--capacity", "50%")[0]["requests"]
        self.assertGreater(requests[0.3], 0.9 * requests[0])

    def test_wrong_usage_is_2(self):
        for option in ("--skip", "--prefer-resident"):
            for value in ("-0.1", "1.1", "nan", "inf", "much", ""):
                done = self.run_model(f"{option}={value}")
                self.assertEqual((done.returncode, done.stdout), (2, b""), (option, value))
                self.assertIn(option.encode(), done.stderr)
            for verb in ("tokenize", "info", "check", "simulate", "calibrate"):
                self.assertEqual(sluice(verb, MODEL, option, "0.1").returncode, 2, verb)
            done = sluice("bench", MODEL, "--routing", self.folder, option, "0.1")
            self.assertEqual(done.returncode, 2)
            self.assertIn(option.encode(), done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
