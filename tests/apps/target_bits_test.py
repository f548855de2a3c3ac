"""Experts that rest at widths of their own, as `pack --target-bits` makes them and `plan` tells of them. Standard library only."""

import sys
import unittest

sys.dont_write_bytecode = True
from command import MIB, MODEL, min_ram, sluice, sluice_json  # noqa: E402
from packing import FLOATS, Planes  # noqa: E402


class TargetBits(Planes):
    def importance(self):
        matrix = self.folder / "importance.gguf"
        done = sluice("calibrate", MODEL, "--text", self.text(6000), "--out", self.folder / "fit", "--imatrix", matrix)
        self.assertEqual(done.returncode, 0, done.stderr)
        return matrix

    def slim(self, bits, *arguments, model=MODEL, out=None):
        out = out or self.folder / "slim.slc"
        return sluice_json("pack", model, "--out", out, "--target-bits", bits, *arguments), out

    def resting(self, store):
        return {one["width"]: one["experts"] for one in sluice_json("info", store)["resting"]}

    def test_the_target_is_met(self):
        matrix = self.importance()
        weights = 6 * 32 * 3 * 256 * 96
        step = 2 * 3 * 256 * 96 / weights  # the widest that an expert makes: two bits
        last = 0
        for bits in (3, 4.25, 7):
            result, out = self.slim(bits, "--imatrix", matrix, out=self.folder / f"{bits}.slc")
            info = sluice_json("info", out)
            self.assertAlmostEqual(info["mean_bits"], result["mean_bits"])
            self.assertLessEqual(info["mean_bits"], bits)
            self.assertGreater(info["mean_bits"], bits - step)
            self.assertEqual(sum(self.resting(out).values()), 6 * 32)
            self.assertGreater(len(self.resting(out)), 1)
            self.assertEqual(info["types"]["nested_q8_0"], 18)
            self.assertGreater(out.stat().st_size, last)
            last = out.stat().st_size
            shown = sluice("info", out).stdout.decode()
            self.assertRegex(shown, r"resting +experts by bits: [0-9]+ at [2-8], ")

    def test_it_says_what_it_does_and_does_what_it_says(self):
        matrix = self.importance()
        ram = min_ram("--ctx", 256) + 2 * MIB
        arguments = ("--target-bits", 4, "--imatrix", matrix, "--ram", ram, "--ctx", 256)
        plan = sluice_json("plan", MODEL, *arguments)
        result, out = self.slim(4, "--imatrix", matrix)
        resting = plan["resting"]
        self.assertEqual(resting["file_bytes"], out.stat().st_size)
        self.assertEqual(resting["mean_bits"], result["mean_bits"])
        self.assertEqual({one["width"]: one["experts"] for one in resting["widths"]}, self.resting(out))
        self.assertEqual([one["layer"] for one in resting["layers"]], list(range(6)))
        self.assertEqual(sum(one["bytes"] for one in resting["layers"]), resting["bytes"])
        self.assertAlmostEqual(sum(one["error"] for one in resting["layers"]), resting["error"])
        self.assertLessEqual(resting["least_error"], resting["error"])
        packed, source = (sluice_json("plan", model, "--ram", ram, "--ctx", 256) for model in (out, MODEL))
        for key in ("min_ram", "dense_bytes", "expert_bytes", "mean_bits", "plan"):
            self.assertEqual(plan[key], packed[key], key)
        self.assertGreater(packed["plan"]["expert_share"], source["plan"]["expert_share"])
        info = sluice_json("info", out, "--ram", ram, "--ctx", 256)
        self.assertEqual((info["plan"], info["min_ram"]), (packed["plan"], packed["min_ram"]))
        shown = sluice("plan", MODEL, *arguments).stdout.decode()
        self.assertIn(f"experts rest at {result['mean_bits']:.3f} bits", shown)
        self.assertRegex(shown, r"^layer +2 bits")
        self.assertRegex(shown, r"\nKV cache +[0-9.KM]+  256 positions")

    def test_more_bits_are_read_better(self):
        matrix, text = self.importance(), self.text()
        perplexities = []
        for bits in (2.7, 3.6, 5):
            _, out = self.slim(bits, "--imatrix", matrix, out=self.folder / f"{bits}.slc")
            result = sluice_json("eval", out, "--text", text)
            self.assertLessEqual(result["experts"]["mean_bits"], bits)
            perplexities.append(result["perplexity"])
        self.assertGreater(perplexities[0], perplexities[1])
        for perplexity in perplexities[1:]:
            self.assertAlmostEqual(perplexity, sluice_json("eval", MODEL, "--text", text)["perplexity"], delta=0.3)
        # No expert is wider than it rests.
        narrow = sluice_json("eval", self.folder / "3.6.slc", "--text", text, "--width", 2)["experts"]["mean_bits"]
        auto = sluice_json("eval", self.folder / "3.6.slc", "--text", text, "--width", "auto")
        self.assertLess(narrow, auto["experts"]["mean_bits"])
        self.assertEqual(auto["all_bits"]["perplexity"], perplexities[1])

    def test_the_same_inputs_make_the_same_store(self):
        matrix = self.importance()
        _, out = self.slim(3.3, "--imatrix", matrix)
        again = self.folder / "again.slc"
        self.slim(3.3, "--imatrix", matrix, out=again)
        self.assertEqual(again.read_bytes(), out.read_bytes())
        self.slim(3.3, out=again.with_suffix(".plain"))
        self.assertNotEqual(again.with_suffix(".plain").read_bytes(), out.read_bytes())

    def test_a_store_is_slimmed(self):
        self.nest()
        _, out = self.slim(3.5, model=self.store)
        done = sluice("check", out, "--ctx", 512)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout.decode(), r"fit their checksums; experts by bits: [0-9]+ at 2, ")
        narrower, _ = self.slim(3, model=out, out=self.folder / "narrower.slc")
        self.assertLessEqual(narrower["mean_bits"], 3)
        self.refused("--target-bits 4: experts have 3.", out, self.folder / "wider.slc", "--target-bits", 4)

    def test_what_rests_narrower_is_not_called_exact(self):
        self.nest()
        _, out = self.slim(3.5, model=self.store)
        for model, width, exact in ((self.store, "exact", True), (self.store, 6, False), (out, "exact", False), (out, 8, False)):
            run = sluice_json("run", model, "-p", "Once", "-n", 1, "--width", width)
            self.assertEqual(run["experts"]["exact"], exact, (model, width))
        # It was not asked for: the file is all there is.
        self.assertNotIn(b"approximate", sluice("run", out, "-p", "Once", "-n", 1).stderr)

    def test_layers_that_a_calibration_knows_to_be_sensitive_get_more(self):
        fit = self.folder / "fit"
        done = sluice("calibrate", MODEL, "--text", self.text(6000), "--out", fit)
        self.assertEqual(done.returncode, 0, done.stderr)
        bits = {}
        for name, arguments in (("alike", ()), ("known", ("--calibration", fit))):
            layers = sluice_json("plan", MODEL, "--target-bits", 4, *arguments)["resting"]["layers"]
            bits[name] = [layer["bytes"] for layer in layers]
        self.assertEqual(sum(bits["known"]) // 10000, sum(bits["alike"]) // 10000)
        said = next(line for line in (done.stdout + done.stderr).decode().splitlines() if "sensitivity of each layer" in line)
        sensitivities = [float(word) for word in said.split(":")[-1].split()]
        most, least = (pick(range(6), key=sensitivities.__getitem__) for pick in (max, min))
        self.assertGreater(bits["known"][most], bits["known"][least])
        self.assertGreater(bits["known"][most], bits["alike"][most])
        self.assertLess(bits["known"][least], bits["alike"][least])
        self.refused("none.calibration", MODEL, self.store, "--target-bits", 4, "--calibration", self.folder / "none.calibration")

    def test_a_target_loss_is_met_and_hardly_more(self):
        matrix, text = self.importance(), self.text(2500)
        self.nest("--imatrix", matrix)
        out, target = self.folder / "loss.slc", 2.0
        asked = ("--target-loss", target, "--text", text, "--imatrix", matrix)
        result = sluice_json("pack", self.store, "--out", out, *asked)
        found = result["target_loss"]
        exact, rested = (sluice_json("eval", store, "--text", text) for store in (self.store, out))
        self.assertEqual((found["exact"], found["perplexity"]), (exact["perplexity"], rested["perplexity"]))
        self.assertEqual(found["tokens"], exact["tokens"])
        self.assertLessEqual(100 * (rested["perplexity"] / exact["perplexity"] - 1), target)
        self.assertEqual(rested["experts"]["mean_bits"], result["mean_bits"])
        # Fewer bits lose more, and they are not many fewer.
        few = found["too_few_bits"]
        self.assertLess(few, result["mean_bits"])
        self.assertLessEqual(result["mean_bits"] - few, 0.05)
        _, fewer = self.slim(few, "--imatrix", matrix, model=self.store, out=self.folder / "fewer.slc")
        lost = sluice_json("eval", fewer, "--text", text)["perplexity"] / exact["perplexity"] - 1
        self.assertGreater(100 * lost, target)
        plan = sluice_json("plan", self.store, *asked)["resting"]
        self.assertEqual((plan["target_loss"], plan["mean_bits"]), (found, result["mean_bits"]))
        self.assertEqual(plan["file_bytes"], out.stat().st_size)
        shown = sluice("plan", self.store, *asked).stdout.decode()
        self.assertIn(f"{result['mean_bits']:.3f} bits lose {found['percent']:.3f} % of perplexity", shown)
        # Where any loss will do, the least bits do; where none, integers' own.
        least = sluice_json("plan", self.store, "--target-loss", 1000, "--text", text)["resting"]
        self.assertEqual((least["widths"], least["target_loss"]["too_few_bits"]), ([{"width": 2, "experts": 192}], 0))

    def test_a_target_loss_asks_for_a_store_and_a_text(self):
        text = self.text(2000)
        self.assertIn("sluice pack MODEL --nested", self.refused("tries widths by running the model", MODEL, self.store, "--target-loss", 1, "--text", text))
        for arguments in (("--target-loss", 1), ("--text", text), ("--target-loss", -1, "--text", text), ("--ctx", 64),
                          ("--target-loss", 1, "--text", text, "--target-bits", 4)):
            done = self.pack(MODEL, self.store, *arguments)
            self.assertEqual(done.returncode, 2, done.stderr)
        self.nest()
        out = self.folder / "out.slc"
        asked = (self.store, out, "--target-loss", 1, "--text")
        self.refused("nothing.txt", *asked, self.folder / "nothing.txt")
        self.refused("again and again", *asked, "/dev/null")
        self.refused("too short", *asked, self.file("short.txt", ""))
        self.refused("--ram", *asked, text, "--ram", "1M")
        self.assertNotIn("out.slc", self.names())

    def test_what_makes_no_sense_is_refused(self):
        self.refused("--target-bits 2: experts have 2.64", MODEL, self.store, "--target-bits", 2)
        self.refused("--target-bits 9: experts have 8.6", MODEL, self.store, "--target-bits", 9)
        for arguments in (("--target-bits", 0), ("--target-bits", "nan"), ("--target-bits", -3), ("--nested", "--calibration", "a")):
            done = self.pack(MODEL, self.store, *arguments)
            self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(self.names(), [])
        kept = ("--target-bits", 4, "--keep", "blk.[0-4].*")
        self.assertIn("as they are: ask for more", self.refused("with the layers that are not nested", MODEL, self.store, *kept))

    def test_floats_go(self):
        _, out = self.slim(5, model=FLOATS)
        self.assertEqual(set(sluice_json("info", out)["types"]), {"BF16", "nested_8"})
        done = sluice("logits", out, "--ids", "1,2", "--out", self.folder / "a.npy")
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
