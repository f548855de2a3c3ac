"""What --width-log writes and --width-replay follows. Standard library only."""

import re
import sys
import unittest

sys.dont_write_bytecode = True
from command import MIB, MODEL, sluice, sluice_json  # noqa: E402
from packing import Planes  # noqa: E402


class WidthLog(Planes):
    def setUp(self):
        super().setUp()
        self.nest()
        self.words = self.text(1500)
        self.log = self.folder / "widths"

    def eval(self, *arguments, ctx=64):
        return sluice_json("eval", self.store, "--text", self.words, "--ctx", ctx, *arguments)

    def lines(self, path=None):
        return (path or self.log).read_text().splitlines()

    def write(self, lines):
        self.log.write_text("\n".join(lines) + "\n")

    def test_a_replay_gives_the_bits_of_the_run(self):
        first = self.eval("--width", "auto", "--width-log", self.log)
        again = self.folder / "again"
        small = sluice_json("info", self.store, "--ctx", 64, "--width", "auto")["min_ram"] + 2 * MIB
        replayed = self.eval("--width-replay", self.log, "--width-log", again, "--ram", small, "--batch", 5)
        self.assertEqual(replayed["nll"], first["nll"])
        self.assertEqual(replayed["experts"]["widths"], first["experts"]["widths"])
        self.assertEqual(again.read_bytes(), self.log.read_bytes())

    def test_the_log_says_what_was_multiplied(self):
        result = self.eval("--width", "auto", "--narrow", 0.1, "--width-log", self.log)
        title, *lines = self.lines()
        self.assertEqual(title, "sluice widths 1")
        ids = sluice_json("tokenize", self.store, "--file", self.words)
        self.assertEqual([int(line.split()[0]) for line in lines], ids)
        taken = "".join("".join(line.split()[1:]) for line in lines)
        for use in result["experts"]["widths"]:
            self.assertEqual(taken.count(str(use["width"])), use["rows"], use)
        self.assertEqual({len(line.split()) for line in lines}, {7})

    def test_one_width_written_everywhere_is_that_width(self):
        self.eval("--width", "auto", "--width-log", self.log)
        title, *lines = self.lines()
        for bits in (2, 5):
            self.write([title, *(line.split()[0] + re.sub("[0-9]", str(bits), line[len(line.split()[0]):]) for line in lines)])
            fixed_log = self.folder / "fixed"
            fixed = self.eval("--width", bits, "--width-log", fixed_log)
            self.assertEqual(self.eval("--width-replay", self.log)["nll"], fixed["nll"])
            self.assertEqual(self.lines(fixed_log), self.lines())

    def test_left_out_experts_are_marked(self):
        self.eval("--width", "auto", "--skip", 0.1, "--width-log", self.log)
        self.assertIn("-", "".join(line.split(" ", 1)[1] for line in self.lines()[1:]))
        # What was left out is chosen anew, and nothing else.
        replayed = self.eval("--width-replay", self.log)
        self.assertGreater(sum(use["rows"] for use in replayed["experts"]["widths"]), "".join(self.lines()[1:]).count("2"))

    def refuses(self, words, *arguments):
        done = sluice("eval", self.store, "--text", self.words, "--ctx", 64, *arguments)
        self.assertEqual(done.returncode, 1)
        self.assertIn(words, done.stderr.decode())

    def test_what_does_not_fit_is_refused(self):
        self.eval("--width", "auto", "--width-log", self.log)
        whole = self.lines()
        replay = ("--width-replay", self.log)
        self.refuses("leave --width and --narrow out", *replay, "--narrow", 0.1)
        self.refuses("leave --width and --narrow out", *replay, "--width", 3)
        self.write(whole[:20])
        self.refuses("line 21: the log ends here, after 19 tokens", *replay)
        self.log.write_text("\n".join(whole)[:-4])
        self.refuses("line %d: is cut off" % len(whole), *replay)
        self.write([whole[0], "1" + whole[1], *whole[2:]])
        self.refuses("line 2: is of token 1", *replay)
        self.write([whole[0], whole[1] + "2", *whole[2:]])
        self.refuses("line 2: should have 6 layers of 4 experts", *replay)
        self.write([whole[0], whole[1][:-1] + "7", *whole[2:]])
        self.refuses("line 2: '7' is no width of layer 5", *replay)
        self.write([whole[0], whole[1].replace(" ", "_"), *whole[2:]])
        self.refuses("line 2: ", *replay)
        self.write(["something else"])
        self.refuses("is no log of widths", *replay)
        self.refuses("nothing", "--width-replay", self.folder / "nothing")
        self.write(whole)
        self.refuses("is what --width-replay names", *replay, "--width-log", self.log)
        self.assertEqual(self.lines(), whole)
        done = sluice("eval", MODEL, "--text", self.words, *replay)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no width but their own", done.stderr.decode())

    def test_widths_are_spread_as_in_a_log(self):
        log = self.eval("--width", "auto", "--width-log", self.log)
        self.lines()
        asked = ("bench", self.store, "-p", 0, "-n", 256, "-r", 1, "--no-ceilings", "--widths-like", self.log)
        bench = sluice_json(*asked)
        shares = []
        for result in (log, bench):
            rows = {use["width"]: use["rows"] for use in result["experts"]["widths"]}
            shares.append({width: count / sum(rows.values()) for width, count in rows.items()})
        for width, share in shares[0].items():
            self.assertAlmostEqual(shares[1][width], share, delta=0.03)
        self.assertEqual(sluice_json(*asked)["experts"]["widths"], bench["experts"]["widths"])
        for text, words in (("sluice widths 1\n", "no token"), ("sluice widths 1\n5 22 -2\n", "no number of bits"), ("x", "no log of widths"),
                            ("sluice widths 1\n5 22 2\n", "as many experts"), ("sluice widths 1\n5 22\n5 222\n", "line 3: is not as long")):
            self.log.write_text(text)
            done = sluice(*asked)
            self.assertEqual(done.returncode, 1)
            self.assertIn(words, done.stderr.decode())

    def test_a_run_that_is_refused_leaves_an_earlier_log(self):
        self.log.write_text("earlier")
        done = sluice("logits", self.store, "--ids", "1,2,3", "--ctx", 2, "--width", 3, "--out", self.folder / "x", "--width-log", self.log)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.log.read_text(), "earlier")


if __name__ == "__main__":
    unittest.main()
