"""`bench --alternate`: blocks with what is foretold and without by turns, each counted for what it is. Speed itself is never asserted."""

import unittest

from command import MODEL, Folder, min_ram, sluice, sluice_json


class Alternate(Folder):
    OPTIONS = ("-r", 3, "-p", 8, "--no-ceilings", "--ctx", 64)
    BLOCKS = ("-n", 24, "--alternate", 4)

    def bench(self, kind, *arguments, more_ram=0):
        ram = min_ram("--ctx", 64, "--predict", kind) + more_ram
        return sluice_json("bench", MODEL, *self.OPTIONS, *self.BLOCKS, "--predict", kind, "--ram", ram, *arguments)

    def check(self, said):
        """What holds whatever is foretold."""
        blocks = said["blocks"]
        self.assertEqual((said["tokens"], len(blocks)), (4, 3 * 6))
        for first in range(0, len(blocks), 6):
            order = "".join("+-"[not block["foretold"]] for block in blocks[first:first + 6])
            self.assertIn(order[:4], ("+--+", "-++-"))
            self.assertIn(order[4:], ("+-", "-+"))
        for name, foretold in (("with", True), ("without", False)):
            mine = [block for block in blocks if block["foretold"] == foretold]
            self.assertEqual(len(mine), 9)
            for count in ("requests", "hits", "loads", "expected", "bytes_read"):
                self.assertEqual(said[name]["experts"][count], sum(block["experts"][count] for block in mine))
            self.assertAlmostEqual(said[name]["seconds"], sum(block["seconds"] for block in mine))
            for block in mine:
                self.assertEqual(block["experts"]["requests"], 4 * 6 * 4)  # tokens, layers, experts
                if not foretold:
                    self.assertEqual(block["experts"]["expected"], 0)
        self.assertGreater(said["with"]["experts"]["expected"], 0)
        self.assertEqual(said["ratio"]["pairs"], 9)
        self.assertLessEqual(said["ratio"]["low"], said["ratio"]["mean"])
        self.assertLessEqual(said["ratio"]["mean"], said["ratio"]["high"])

    def test_both_really_run_in_their_blocks(self):
        for kind in ("both", "affinity"):
            result = self.bench(kind)
            self.assertNotIn("decode", result)
            self.assertIn("prefill", result)
            self.check(result["alternate"])

    def test_under_a_recorded_routing(self):
        trace = self.folder / "trace"
        self.assertEqual(sluice("run", MODEL, "-p", "Once upon a time", "-n", 40, "--trace-routing", trace).returncode, 0)
        # The trace is held within the budget, too.
        self.check(self.bench("both", "--routing", trace, more_ram=1 << 20)["alternate"])

    def test_in_words(self):
        done = sluice("bench", MODEL, *self.OPTIONS, *self.BLOCKS, "--predict", "both")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout.decode(), r"tokens/s, [\d.]+ % of the time waiting, with --predict both\n")
        self.assertRegex(done.stdout.decode(), r"tokens/s, [\d.]+ % of the time waiting, with --predict off\n")
        self.assertRegex(done.stdout.decode(), r"both / off [\d.]+ times as fast \(95 %: [\d.]+ to [\d.]+; geometric mean of 9 pairs of blocks of 4 tokens\)\n")

    def test_what_leaves_nothing_to_compare(self):
        for arguments, words in ((("-n", 8, "--predict", "off"), "name another than off"), (("-n", 20), "-n 20 is no multiple of 8"),
                                 (("-n", 0), "-n 0 is no multiple")):
            done = sluice("bench", MODEL, *self.OPTIONS, "--alternate", 4, *arguments)
            self.assertEqual((done.returncode, done.stdout), (1, b""))
            self.assertIn(words, done.stderr.decode())
        self.assertEqual(sluice("bench", MODEL, "--alternate", 0).returncode, 2)


if __name__ == "__main__":
    unittest.main()
