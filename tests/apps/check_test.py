"""`sluice check`: the bundled model is read rightly, and each way of damaging a copy of it is found by the step that is there for it.
Standard library only."""

import json
import math
import os
import pathlib
import random
import struct
import sys
import unittest

sys.dont_write_bytecode = True
from command import MODEL, ROOT, Folder, min_ram, sluice, sluice_json  # noqa: E402
from gguf_patch import F32, Q8_0, Q8_0_BYTES, Gguf  # noqa: E402

HEAD = 32  # numbers of a head of the bundled model


def half(value):
    return struct.pack("<e", value)


def decode(row):
    """The numbers of a row of Q8_0."""
    numbers = []
    for at in range(0, len(row), Q8_0_BYTES):
        scale, *codes = struct.unpack_from("<e32b", row, at)
        numbers += [scale * code for code in codes]
    return numbers


def encode(numbers):
    row = b""
    for at in range(0, len(numbers), 32):
        block = numbers[at:at + 32]
        scale = max(map(abs, block)) / 127
        row += struct.pack("<e32b", scale, *(round(number / scale) if scale else 0 for number in block))
    return row


class Check(Folder):
    def setUp(self):
        super().setUp()
        self.path = self.folder / "copy.gguf"
        self.model = Gguf(MODEL)

    def check(self, *arguments):
        """(Exit status, name -> step, the whole report) of the changed copy."""
        self.model.write(self.path)
        done = sluice("check", self.path, "--json", *arguments)
        self.assertEqual(done.stdout.count(b"\n"), 1, done.stderr)
        report = json.loads(done.stdout)
        steps = {step["name"]: step for step in report["steps"]}
        # The verdict is that of the worst step, and a failed one fails the command.
        order = ["ok", "skipped", "suspicious", "failed"]
        worst = max((step["verdict"] for step in report["steps"]), key=order.index)
        self.assertEqual(report["verdict"], "ok" if worst == "skipped" else worst)
        self.assertEqual(done.returncode, 1 if worst == "failed" else 0, done.stderr)
        for step in report["steps"]:
            self.assertEqual(step["remedy"] == "", step["verdict"] in ("ok", "skipped"), step)
        if worst == "failed":
            self.assertIn(b"copy.gguf", done.stderr)
        return steps

    def verdicts(self, steps):
        return {name: step["verdict"] for name, step in steps.items()}

    def test_the_bundled_model_is_read_rightly(self):
        steps = self.check()
        self.assertEqual(set(self.verdicts(steps).values()), {"ok"}, steps)
        self.assertEqual(list(steps), ["open", "tensors", "tokenizer", "template", "prediction", "answer"])
        numbers = 0
        for sizes, _, _ in self.model.tensors.values():
            numbers += math.prod(sizes)
        tensors = steps["tensors"]["details"]
        self.assertEqual((tensors["numbers"], tensors["tensors"], tensors["expert_matrices"]), (numbers, len(self.model.tensors), 6 * 32 * 3))

    def test_statistics_are_those_of_the_numbers(self):
        kinds = self.check()["tensors"]["details"]["kinds"]["attn_k.weight"]
        rms, peak = [], 0
        for layer in range(6):
            rows, _, _ = self.model.rows(f"blk.{layer}.attn_k.weight")
            numbers = [number for row in range(rows) for number in decode(self.model.row(f"blk.{layer}.attn_k.weight", row))]
            rms.append(math.sqrt(math.fsum(number * number for number in numbers) / len(numbers)))
            peak = max(peak, max(map(abs, numbers)))
        self.assertEqual(kinds["matrices"], 6)
        self.assertAlmostEqual(kinds["rms"]["least"], min(rms), places=9)
        self.assertAlmostEqual(kinds["rms"]["most"], max(rms), places=9)
        self.assertAlmostEqual(kinds["rms"]["median"], sorted(rms)[3], places=9)
        self.assertAlmostEqual(kinds["peak"], peak, places=6)

    def test_the_budget_holds_and_bytes_are_read_past_the_page_cache(self):
        least = min_ram("--ctx", 1024)
        report = sluice_json("check", MODEL, "--ram", least)
        self.assertLessEqual(report["memory"]["peak_rss"], least)
        self.assertEqual(report["verdict"], "ok")

    def test_the_table_is_for_people(self):
        done = sluice("check", MODEL)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.decode().splitlines()
        self.assertEqual([line.split()[:2] for line in lines],
                         [[name, "ok"] for name in ("open", "tensors", "tokenizer", "template", "prediction", "answer", "verdict")])

    # Tensors.

    def test_a_number_that_is_none_is_found_where_it_is(self):
        name = "blk.2.ffn_up_exps.weight"
        for scale in (float("nan"), float("inf")):
            row = bytearray(self.model.row(name, 7 * 96 + 5))  # of expert 7
            row[3 * Q8_0_BYTES:3 * Q8_0_BYTES + 2] = half(scale)
            self.model.set_row(name, 7 * 96 + 5, row)
            steps = self.check()
            self.assertEqual(steps["tensors"]["verdict"], "failed")
            for words in (f"{name}, expert 7", "row 5, column 96", "not finite"):
                self.assertIn(words, steps["tensors"]["found"])
            self.assertEqual([(one["tensor"], one["expert"]) for one in steps["tensors"]["details"]["findings"]], [(name, 7)])

    def test_a_hole_in_the_file_is_found(self):
        # As a download leaves that was cut short after the file had got its size.
        for name, expert, rows in (("blk.3.ffn_down_exps.weight", 4, 256), ("blk.3.ffn_down_exps.weight", 31, 64), ("blk.5.attn_q.weight", None, 256)):
            self.model = Gguf(MODEL)
            for row in range(rows):
                index = (expert or 0) * 256 + row
                self.model.set_row(name, index, bytes(len(self.model.row(name, index))))
            steps = self.check()
            self.assertEqual(steps["tensors"]["verdict"], "failed" if rows == 256 else "suspicious", steps["tensors"])
            self.assertIn(name if expert is None else f"{name}, expert {expert} ", steps["tensors"]["found"])

    def test_a_norm_of_zeros_is_found(self):
        (size,), kind, offset = self.model.tensors["blk.1.ffn_norm.weight"]
        self.assertEqual(kind, F32)
        self.model.data[offset:offset + 4 * size] = bytes(4 * size)
        self.assertIn("blk.1.ffn_norm.weight is all zeros", self.check()["tensors"]["found"])

    def scaled(self, name, factor):
        rows, size, offset = self.model.rows(name)
        for at in range(offset, offset + rows * size, Q8_0_BYTES):
            self.model.data[at:at + 2] = half(struct.unpack_from("<e", self.model.data, at)[0] * factor)

    def test_a_wrong_scale_is_found_beside_the_siblings(self):
        self.scaled("blk.1.attn_v.weight", 64)
        steps = self.check()
        self.assertEqual(steps["tensors"]["verdict"], "suspicious")
        self.assertIn("blk.1.attn_v.weight has an rms", steps["tensors"]["found"])

    def test_wrong_scales_everywhere_are_found_by_their_gain(self):
        for layer in range(6):
            self.scaled(f"blk.{layer}.attn_v.weight", 2.0 ** -14)
        steps = self.check()
        self.assertEqual(steps["tensors"]["verdict"], "suspicious")
        self.assertIn("gain", steps["tensors"]["found"])

    def test_an_expert_in_the_place_of_another_is_found(self):
        name = "blk.0.ffn_gate_exps.weight"
        for row in range(96):
            self.model.set_row(name, 9 * 96 + row, self.model.row(name, 3 * 96 + row))
        steps = self.check()
        self.assertEqual(steps["tensors"]["verdict"], "suspicious")
        self.assertIn(f"{name}, expert 9 has the very numbers of {name}, expert 3", steps["tensors"]["found"])

    def test_a_truncated_file_does_not_open(self):
        self.model.data = self.model.data[:-100_000]
        steps = self.check()
        self.assertEqual(self.verdicts(steps), {"open": "failed"})

    def test_a_missing_tensor_does_not_open(self):
        self.model.replace(b"blk.2.ffn_norm.weight", b"blk.2.ffn_mron.weight")
        steps = self.check()
        self.assertEqual(self.verdicts(steps), {"open": "failed"})
        self.assertIn("blk.2.ffn_norm.weight", steps["open"]["found"])

    # What only the model's words tell: its tensors look as usual.

    def expect_wrong_words(self, *verdicts):
        steps = self.check()
        self.assertEqual(steps["tensors"]["verdict"], "ok", steps["tensors"])
        self.assertIn(steps["prediction"]["verdict"], verdicts, steps["prediction"])

    def test_random_weights(self):
        draw = random.Random(1)
        for name, (sizes, kind, _) in self.model.tensors.items():
            if kind != Q8_0:
                continue
            rows, size, offset = self.model.rows(name)
            codes = draw.randbytes(rows * size)
            scales = [bytes(self.model.data[at:at + 2]) for at in range(offset, offset + rows * size, Q8_0_BYTES)]
            self.model.data[offset:offset + rows * size] = codes
            for i, scale in enumerate(scales):
                self.model.data[offset + i * Q8_0_BYTES:offset + i * Q8_0_BYTES + 2] = scale
        self.expect_wrong_words("failed")

    def test_matrices_of_another_orientation(self):
        for layer in range(6):
            name = f"blk.{layer}.attn_output.weight"
            columns = list(zip(*(decode(self.model.row(name, row)) for row in range(256))))
            for row in range(256):
                self.model.set_row(name, row, encode(columns[row]))
        self.expect_wrong_words("failed", "suspicious")

    def test_rope_over_the_wrong_pairs(self):
        # Rows as files have them whose RoPE turns neighbours (2i, 2i + 1) instead of (i, i + 16).
        order = [i // 2 + (i % 2) * HEAD // 2 for i in range(HEAD)]
        for layer in range(6):
            for name, heads in ((f"blk.{layer}.attn_q.weight", 8), (f"blk.{layer}.attn_k.weight", 4)):
                for head in range(heads):
                    rows = [self.model.row(name, head * HEAD + i) for i in range(HEAD)]
                    for i in range(HEAD):
                        self.model.set_row(name, head * HEAD + i, rows[order[i]])
            for name in (f"blk.{layer}.attn_q_norm.weight", f"blk.{layer}.attn_k_norm.weight"):
                _, _, offset = self.model.tensors[name]
                numbers = struct.unpack_from(f"<{HEAD}f", self.model.data, offset)
                struct.pack_into(f"<{HEAD}f", self.model.data, offset, *(numbers[i] for i in order))
        self.expect_wrong_words("failed", "suspicious")

    def test_norms_left_out(self):
        for name, (sizes, kind, offset) in self.model.tensors.items():
            if kind == F32 and name.endswith("_norm.weight"):
                struct.pack_into(f"<{sizes[0]}f", self.model.data, offset, *[1.0] * sizes[0])
        self.expect_wrong_words("failed", "suspicious")

    def test_experts_in_another_order(self):
        # Every expert is there, but the router means others.
        for layer in range(6):
            name = f"blk.{layer}.ffn_gate_inp.weight"
            rows = [self.model.row(name, i) for i in range(32)]
            for i in range(32):
                self.model.set_row(name, i, rows[(i + 1) % 32])
        self.expect_wrong_words("failed", "suspicious")

    def test_a_tokenizer_of_another_model(self):
        # Ids that mean other words.
        rows, _, _ = self.model.rows("token_embd.weight")
        first = [self.model.row("token_embd.weight", i) for i in range(3000)]
        random.Random(2).shuffle(first)
        for i, row in enumerate(first):
            self.model.set_row("token_embd.weight", i, row)
        self.assertEqual(rows, 4096)
        self.expect_wrong_words("failed")

    def test_a_template_of_another_model(self):
        at = self.model.data.index(b"tokenizer.chat_template")
        for _ in range(2):
            found = self.model.data.index(b"<|im_start|>", at)
            self.model.data[found:found + 12] = b"<|im_begin|>"
        steps = self.check()
        self.assertEqual(steps["template"]["verdict"], "suspicious")
        self.assertIn("<|im_begin|>", steps["template"]["found"])
        self.assertEqual(steps["prediction"]["verdict"], "ok")


class Oracles(unittest.TestCase):
    def test_random_weights_without_a_tokenizer_are_not_called_right(self):
        for name, words in (("qwen2_moe", "random weights are like that"), ("qwen3_moe_tied_dense", "cannot be told without texts")):
            report = sluice_json("check", ROOT / "tests/data/oracle" / name)
            steps = {step["name"]: step for step in report["steps"]}
            self.assertEqual((report["verdict"], steps["tensors"]["verdict"], steps["prediction"]["verdict"]), ("suspicious", "ok", "suspicious"))
            self.assertEqual((steps["tokenizer"]["verdict"], steps["answer"]["verdict"]), ("skipped", "skipped"))
            self.assertIn(words, steps["prediction"]["found"])

    def test_every_architecture_and_format_is_looked_at(self):
        data = os.environ.get("SLUICE_TEST_DATA")
        if not data:
            self.skipTest("SLUICE_TEST_DATA is not set")
        seen = 0
        for folder in sorted((pathlib.Path(data) / "oracle").iterdir()):
            for path in (folder, folder / "model.gguf"):
                if not path.exists():
                    continue
                done = sluice("check", path, "--json")
                report = json.loads(done.stdout)
                steps = {step["name"]: step for step in report["steps"]}
                self.assertEqual(steps["open"]["verdict"], "ok", (path, steps))
                self.assertEqual(steps["tensors"]["verdict"], "ok", (path, steps["tensors"]))
                self.assertEqual((done.returncode, report["verdict"]), (0, "suspicious"), (path, done.stderr))
                seen += 1
        self.assertGreaterEqual(seen, 23)


class Planes(Folder):
    """Stores of which nothing but planes is left."""

    def nest(self, model, *arguments):
        store = self.folder / "a.slc"
        done = sluice("pack", model, "--out", store, "--nested", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return store

    def tensors(self, model, *arguments):
        done = sluice("check", model, "--json", *arguments)
        report = json.loads(done.stdout)
        return report, {step["name"]: step for step in report["steps"]}["tensors"]

    def test_integers_are_looked_at_as_their_source(self):
        store = self.nest(MODEL)
        least = sluice_json("info", store, "--ctx", 1024)["min_ram"]
        source, (report, tensors) = self.tensors(MODEL), self.tensors(store, "--ram", least)
        self.assertEqual((report["verdict"], tensors["details"]), ("ok", source[1]["details"]))
        self.assertLessEqual(report["memory"]["peak_rss"], least)
        report, tensors = self.tensors(store, "--width", 3)  # which is what predicts
        self.assertEqual((report["verdict"], tensors["details"]), ("ok", source[1]["details"]))
        self.assertLess(report["experts"]["mean_bits"], 4)

    def test_floats_that_were_dropped_are_looked_at_as_they_are(self):
        source = ROOT / "tests/data/oracle/qwen3_moe_tied_dense"
        store = self.nest(source, "--drop-floats")
        (_, right), (report, tensors) = self.tensors(source), self.tensors(store)
        self.assertEqual((report["verdict"], tensors["verdict"]), ("suspicious", "ok"))  # random weights
        right, got = right["details"], tensors["details"]
        for key in ("numbers", "tensors", "expert_matrices"):
            self.assertEqual(got[key], right[key])
        self.assertEqual(set(got["kinds"]), set(right["kinds"]))
        for kind, of in right["kinds"].items():
            for size in ("least", "median", "most"):
                self.assertAlmostEqual(got["kinds"][kind]["rms"][size], of["rms"][size], delta=0.01 * of["rms"][size])

    def test_every_block_is_read_whichever_width_is_asked_for(self):
        store = self.nest(ROOT / "tests/data/oracle/qwen3_moe_tied_dense")
        whole = bytearray(store.read_bytes())
        sound = {step["name"]: step for step in json.loads(sluice("check", store, "--json").stdout)["steps"]}
        self.assertEqual((sound["blocks"]["verdict"], sound["planes"]["verdict"]), ("ok", "ok"))
        blocks = sound["blocks"]["details"]["blocks"]
        # Of the last expert the last plane, which exact does not read, or its floats, which no width reads; and others.
        for at in (len(whole) - 4096, len(whole) // 2):
            damaged = bytearray(whole)
            damaged[at] ^= 16
            store.write_bytes(damaged)
            for width in ("exact", 2, "auto"):
                steps = {step["name"]: step for step in json.loads(sluice("check", store, "--json", "--width", width).stdout)["steps"]}
                self.assertEqual(steps["blocks"]["verdict"], "failed", (at, width))
                self.assertIn(f"1 of {blocks} blocks of experts are damaged: ", steps["blocks"]["found"])
                self.assertEqual(len(steps["blocks"]["details"]["damaged"]), 1)

    def test_a_number_that_is_none_is_found_where_it_is(self):
        for name, row, rows in (("blk.2.ffn_up_exps.weight", 5, 96), ("blk.4.ffn_down_exps.weight", 201, 256)):
            model, path = Gguf(MODEL), self.folder / "copy.gguf"
            codes = bytearray(model.row(name, 7 * rows + row))  # of expert 7
            codes[Q8_0_BYTES:Q8_0_BYTES + 2] = half(float("nan"))
            model.set_row(name, 7 * rows + row, codes)
            model.write(path)
            report, tensors = self.tensors(self.nest(path))
            self.assertEqual((report["verdict"], tensors["verdict"]), ("failed", "failed"))
            for words in (f"{name}, expert 7", f"row {row}, column 32", "not finite"):
                self.assertIn(words, tensors["found"])
            (self.folder / "a.slc").unlink()


class Wrong(unittest.TestCase):
    def test_a_file_that_is_not_there_is_an_error_and_no_verdict(self):
        done = sluice("check", "/nowhere/model.gguf", "--json")
        self.assertEqual((done.returncode, done.stdout), (1, b""))

    def test_a_budget_too_small_names_what_would_do(self):
        done = sluice("check", MODEL, "--ram", "20M")
        self.assertEqual(done.returncode, 1)
        for word in (b"20M is too small", b"--ram"):
            self.assertIn(word, done.stderr)


if __name__ == "__main__":
    unittest.main()
