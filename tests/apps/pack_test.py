"""A store as its users have it: made by the command, run like the model that it was made of. Standard library only."""

import array
import fcntl
import json
import math
import os
import pathlib
import resource
import shutil
import struct
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
from command import MIB, MODEL, ROOT, SLUICE, min_ram, sluice, sluice_json  # noqa: E402
from gguf_patch import Gguf  # noqa: E402
from packing import FLOATS, Pack, Planes  # noqa: E402

NOBODY = 65534
DATA = os.environ.get("SLUICE_TEST_DATA")


class Result(Pack):
    def test_the_result_is_reported(self):
        result = sluice_json("pack", MODEL, "--out", self.store)
        self.assertEqual(result["bytes"], self.store.stat().st_size)
        self.assertEqual((result["file"], result["resumed_bytes"]), (str(self.store), 0))
        self.assertGreater(result["blocks"], 6 * 32)  # an expert is one
        self.assertLess(result["peak_rss"], 256 * MIB)
        self.assertEqual(self.names(), ["tales.slc"])
        again = self.folder / "again.slc"
        done = self.pack(out=again)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"again.slc: ", done.stdout)
        self.assertEqual(again.read_bytes(), self.store.read_bytes())

    def test_it_runs_and_writes_what_its_source_does(self):
        self.assertEqual(self.pack().returncode, 0)
        store, source = (sluice_json("info", model) for model in (self.store, MODEL))
        self.assertIn("Sluice store 1", store["container"])
        for key in ("architecture", "tensors", "types", "parameters", "tokenizer", "description", "expert_bytes", "dense_bytes"):
            self.assertEqual(store[key], source[key], key)
        ram = min_ram("--ctx", 256) + 6 * MIB
        run = ["-p", "Once upon a time", "-n", 60, "--temp", 0, "--ctx", 256, "--ram", ram]
        texts = [sluice_json("run", model, *run)["text"] for model in (self.store, MODEL)]
        self.assertEqual(*texts)
        self.assertEqual(self.logits(self.store), self.logits(MODEL))
        ids = [sluice("tokenize", model, "--text", "A cat, a tree.", "--json").stdout for model in (self.store, MODEL)]
        self.assertEqual(*ids)
        render = [sluice("chat", model, "--render", "-p", "Hello").stdout for model in (self.store, MODEL)]
        self.assertEqual(*render)

    def test_logits_of_many_models_are_the_sources(self):
        folders = sorted((ROOT / "tests/data/oracle").iterdir())
        if DATA:
            folders += sorted((pathlib.Path(DATA) / "oracle").iterdir())
        models = [model for folder in folders if folder.is_dir() for model in (folder, folder / "model.gguf")]
        packed = 0
        for model in models:
            if not model.exists():
                continue
            store = self.folder / "one.slc"
            done = self.pack(model, store)
            self.assertEqual(done.returncode, 0, (model, done.stderr))
            self.assertEqual(self.logits(store), self.logits(model), model)
            store.unlink()
            packed += 1
        self.assertGreaterEqual(packed, 7)

    def test_a_store_is_a_model_like_any_other(self):
        self.assertEqual(self.pack().returncode, 0)
        again = self.folder / "again.slc"
        self.assertEqual(self.pack(self.store, again).returncode, 0)
        self.assertEqual(self.logits(again), self.logits(MODEL))

    def test_quiet_is_quiet_and_else_progress_is_said(self):
        self.assertEqual(self.pack().stderr.decode().count("100 %"), 1)
        self.store.unlink()
        done = sluice("pack", MODEL, "--out", self.store, "-q")
        self.assertEqual((done.returncode, done.stderr), (0, b""))


class Refusals(Pack):
    def test_nothing_is_replaced(self):
        self.store.write_bytes(b"mine")
        self.refused("is there already")
        self.assertEqual(self.store.read_bytes(), b"mine")
        self.assertEqual(self.names(), ["tales.slc"])

    def test_the_source_is_safe(self):
        source = self.folder / "a.gguf"
        shutil.copy(MODEL, source)
        self.refused("is there already", source, source)
        partial = self.folder / "b.gguf.partial"
        source.rename(partial)
        self.refused("what is to be packed", partial, self.folder / "b.gguf")
        self.assertEqual(partial.read_bytes(), pathlib.Path(MODEL).read_bytes())
        self.assertEqual(self.names(), ["b.gguf.partial"])

    def test_folders(self):
        self.refused("is a folder", MODEL, self.folder)
        self.refused("no such folder", MODEL, self.folder / "none" / "a.slc")
        self.assertEqual(self.names(), [])

    def test_a_folder_in_which_one_may_not_write(self):
        os.chmod(self.folder, 0o555)
        self.addCleanup(os.chmod, self.folder, 0o755)
        somebody = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
        try:
            done = subprocess.run([os.path.abspath(SLUICE), "pack", os.path.abspath(MODEL), "--out", self.store], capture_output=True,
                                  timeout=60, cwd="/", **somebody)
        except PermissionError:
            self.skipTest("the program lies where nobody else comes")
        if b"cannot open" in done.stderr:
            self.skipTest("the model lies where nobody else comes")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"tales.slc.partial: cannot be created: Permission denied", done.stderr)
        self.assertEqual(self.names(), [])

    def test_two_at_once(self):
        partial = self.folder / "tales.slc.partial"
        with open(partial, "wb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            self.refused("another 'sluice pack' is at it")
        self.assertEqual(self.pack().returncode, 0)

    def test_what_is_not_ours_is_left_as_it_is(self):
        partial, journal = (self.folder / name for name in ("tales.slc.partial", "tales.slc.partial.journal"))
        partial.write_bytes(b"mine")
        self.refused("tales.slc.partial: is there without the journal")
        self.assertEqual((self.names(), partial.read_bytes()), (["tales.slc.partial"], b"mine"))
        journal.write_bytes(b"mine, too")
        self.refused("is no journal")
        self.assertEqual((partial.read_bytes(), journal.read_bytes()), (b"mine", b"mine, too"))

    def test_no_room_is_said_with_what_is_missing(self):
        """A disk that is too small, where root may mount one; a limit on a file's size, everywhere."""
        def limited():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MIB, 4 * MIB))
        said = self.refused("File too large", preexec_fn=limited)
        self.assertIn("ulimit -f", said)
        self.assertEqual(self.names(), [])
        small = self.folder / "small"
        small.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", small], capture_output=True)
        if mounted.returncode != 0:
            self.skipTest("nothing can be mounted here")
        try:
            said = self.refused("are missing", MODEL, small / "tales.slc")
            self.assertIn("4M free", said)
            self.assertEqual(os.listdir(small), [])
        finally:
            subprocess.run(["umount", small], check=True)

    def test_a_source_cut_short(self):
        source = self.folder / "a.gguf"
        shutil.copy(MODEL, source)
        os.truncate(source, source.stat().st_size // 2)
        self.refused("a.gguf", source)
        self.assertEqual(self.names(), ["a.gguf"])


class Damage(Pack):
    """Whatever is found in a partial file and its journal, the store is right or there is none."""

    def test_a_pack_goes_on(self):
        self.assertEqual(self.pack().returncode, 0)
        whole = self.store.read_bytes()
        self.store.rename(self.folder / "tales.slc.partial")
        # A journal is written by the program alone: one that was begun and says nothing yet.
        journal = self.folder / "tales.slc.partial.journal"
        journal.write_bytes(struct.pack("<8s7Q", b"SLCPACK2", *range(7)))
        self.refused("without the journal")  # its check is wrong
        (self.folder / "tales.slc.partial").write_bytes(b"")
        done = self.pack()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.store.read_bytes(), whole)
        self.assertEqual(self.names(), ["tales.slc"])


WIDTHS = (2, 3, 4, 5, 6, 8)


def distance(left, right):
    """Of two results of `logits`, relative to the second one's size."""
    numbers = []
    for data in (left, right):
        numbers.append(array.array("f", data[10 + struct.unpack_from("<H", data, 8)[0]:]))
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(*numbers)) / sum(b * b for b in numbers[1]))


class WhatIsCut(Planes):
    """Which experts become planes."""

    def test_layers_that_cannot_be_nested_are_told(self):
        model = Gguf(MODEL)
        name = "blk.2.ffn_down_exps.weight"
        at = model.data.index(name.encode()) + len(name)
        dimensions, = struct.unpack_from("<I", model.data, at)
        struct.pack_into("<I", model.data, at + 4 + 8 * dimensions, 6)  # Q5_0, whose bytes are fewer
        mixed = self.folder / "mixed.gguf"
        mixed.write_bytes(model.data)
        done = self.pack(mixed, None, "--nested", "--keep", "blk.0.*", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"4 of 6 layers of experts are nested; 1 others stay as they are: '{name}' is Q5_0 in rows of 96", done.stderr.decode())
        result = json.loads(done.stdout)
        self.assertEqual((result["nested_layers"], result["expert_layers"]), (4, 6))

    def test_what_is_cut_already_is_not_cut_otherwise(self):
        self.nest()
        again = self.folder / "again.slc"
        self.refused("cut into planes already", self.store, again, "--nested", "--keep", "blk.0.*")
        matrix = self.folder / "matrix"
        done = sluice("calibrate", MODEL, "--text", self.text(), "--out", self.folder / "fit", "--imatrix", matrix)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.refused("cut into planes already", self.store, again, "--nested", "--imatrix", matrix)
        self.assertEqual(self.pack(self.store, again, "--target-bits", 4, "--imatrix", matrix).returncode, 0)

    def test_a_store_is_there_though_nobody_hears_of_it(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([SLUICE, "pack", MODEL, "--out", self.store, "--json"], stdout=full, stderr=subprocess.PIPE, timeout=300)
        self.assertEqual(done.returncode, 1)
        self.assertIn("is complete", done.stderr.decode())
        self.assertEqual(self.logits(self.store), self.logits(MODEL))

    def test_what_is_no_store_is_not_told_to_be_no_gguf_file_alone(self):
        for content in (b"SLUICE", b"x" * 5000):
            self.store.write_bytes(content)
            done = sluice("info", self.store)
            self.assertEqual(done.returncode, 1)
            self.assertIn("nor does it begin as a store does", done.stderr.decode())

    def test_bits_that_nobody_has(self):
        for bits in ("0", "-1", "nan", "1e9"):
            done = self.pack(MODEL, None, "--target-bits", bits)
            self.assertEqual(done.returncode, 2)
            self.assertLess(len(done.stderr), 300)


class Nested(Planes):
    """Read with as many bits as --width asks for."""

    def test_every_width_is_nearer_than_the_one_before(self):
        self.nest()
        right = self.logits(MODEL)
        self.assertEqual(self.logits(self.store), right)
        last = math.inf
        for width in WIDTHS:
            got = distance(self.logits(self.store, "--width", width), right)
            self.assertLess(got, last)
            last = got
        self.assertEqual(last, 0)  # integers' eight bits are themselves

    def test_a_text_is_read_better_with_more_bits(self):
        self.nest()
        text = self.text()
        perplexities, bits = [], []
        for width in (*WIDTHS, "exact"):
            result = sluice_json("eval", self.store, "--text", text, "--width", width)
            perplexities.append(result["perplexity"])
            bits.append(result["experts"]["mean_bits"])
        exact = perplexities.pop()
        self.assertEqual(perplexities[-1], exact)
        self.assertEqual(exact, sluice_json("eval", MODEL, "--text", text)["perplexity"])
        self.assertGreater(perplexities[0], perplexities[1])
        self.assertGreater(perplexities[1], exact)
        for perplexity in perplexities[2:]:
            self.assertAlmostEqual(perplexity, exact, delta=0.01 * exact)
        # A float16 and an offset for each 32 codes, and a header for each matrix.
        for width, mean in zip(WIDTHS, bits):
            self.assertAlmostEqual(mean, width + (16 + 4) / 32, delta=0.03)
        self.assertEqual(bits[-1], bits[-2])

    def test_what_is_approximate_says_so(self):
        self.nest("--keep", "blk.[0-3].*")
        for width, words in ((2, b"have 6."), (3, b"in 2 of 6 layers"), (8, None), ("exact", None)):
            done = sluice("run", self.store, "-p", "Once upon a time", "-n", 2, "--width", width)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(b"results are approximate" in done.stderr, words is not None, done.stderr)
            self.assertIn(words or b"", done.stderr)

    def test_a_width_for_each_use_costs_little_and_depends_on_no_budget(self):
        self.nest()
        text = self.text()
        auto, exact = (sluice_json("eval", self.store, "--text", text, "--width", width) for width in ("auto", "exact"))
        self.assertEqual(auto["all_bits"]["perplexity"], exact["perplexity"])
        self.assertNotEqual(auto["perplexity"], exact["perplexity"])
        self.assertAlmostEqual(auto["perplexity"], exact["perplexity"], delta=0.02 * exact["perplexity"])
        uses = {one["width"]: one["rows"] for one in auto["experts"]["widths"]}
        self.assertEqual(set(uses), set(WIDTHS))
        # Of every token of every window, four in each layer; the first of a window is not scored.
        rows = sum(uses.values()) / 4 / len(auto["experts"]["layers"])
        self.assertIn(rows - auto["tokens"], range(1, 9))
        bits = sum(rows * (width + (16 + 4) / 32) for width, rows in uses.items()) / sum(uses.values())
        self.assertAlmostEqual(auto["experts"]["mean_bits"], bits, delta=0.03)
        wider = sluice_json("eval", self.store, "--text", text, "--width", "auto", "--narrow", 0.03)
        self.assertGreater(wider["experts"]["mean_bits"], auto["experts"]["mean_bits"])
        least = sluice_json("info", self.store, "--width", "auto", "--ctx", 256)["min_ram"]
        run = ["run", self.store, "-p", "Once upon a time", "-n", 20, "--width", "auto", "--ctx", 256, "--seed", 3]
        texts = {sluice_json(*run, "--ram", ram)["text"] for ram in (least, least + MIB, least + 4 * MIB, 1 << 30)}
        self.assertEqual(len(texts), 1)
        said = sluice(*run, "--stats").stderr.decode()
        self.assertIn("results are approximate: --width auto", said)
        self.assertRegex(said, r"approximate: of experts' weights [2-8]\.\d\d bits were multiplied on average \([0-9.]+ % 2 bits, ")

    def test_several_widths_are_a_table(self):
        self.nest()
        text = self.text()
        names = ["2", "auto", "4", "exact"]
        each = [sluice_json("eval", self.store, "--text", text, "--width", name) for name in names]
        many = sluice_json("eval", self.store, "--text", text, "--width", ",".join(names))
        self.assertEqual((many["ctx"], many["partial"]), (512, False))
        self.assertEqual([one["width"] for one in many["widths"]], [2, "auto", 4, "exact"])
        for one, alone in zip(many["widths"], each):
            self.assertEqual(alone["experts"]["width"], one["width"])
            for key in ("perplexity", "nll", "tokens"):
                self.assertEqual(one[key], alone[key])
            self.assertEqual(one["experts"]["mean_bits"], alone["experts"]["mean_bits"])
        shown = sluice("eval", self.store, "--text", text, "--width", "exact,2").stdout.decode().splitlines()
        self.assertRegex(shown[0], r"^width +bits a weight +perplexity +cost$")
        self.assertRegex(shown[1], rf"^exact +8\.\d\d +{each[3]['perplexity']:.4f} +\+0\.00 %$")
        cost = 100 * (each[0]["perplexity"] / each[3]["perplexity"] - 1)
        self.assertRegex(shown[2], rf"^2 +2\.\d\d +{each[0]['perplexity']:.4f} +\+{cost:.2f} %$")
        for arguments, words in ((("--width", "2,7"), "--width: 7 not in {"),
                                 (("--width", "2,3", "--narrow", 0.1), "--narrow says how --width auto chooses"),
                                 (("--width", "2,3", "--trace-routing", self.folder / "a"), "--trace-routing records one run"),
                                 (("--width", "2,3", "--text", "/dev/null"), "once for each width")):
            named = () if "--text" in arguments else ("--text", text)
            done = sluice("eval", self.store, *named, *arguments)
            self.assertIn(done.returncode, (1, 2))
            self.assertIn(words, done.stderr.decode())

    def test_the_width_that_was_asked_for_is_reported(self):
        self.nest()
        for width in (3, "auto", "exact"):
            run = sluice_json("run", self.store, "-p", "Once", "-n", 1, "--width", width)
            self.assertEqual(run["experts"]["width"], width)
        self.assertEqual(sluice_json("bench", self.store, "-p", 8, "-n", 4, "-r", 1, "--width", 3)["experts"]["width"], 3)
        self.assertEqual(sluice_json("run", MODEL, "-p", "Once", "-n", 1)["experts"]["width"], "exact")

    def test_more_bits_than_there_are_are_warned_of(self):
        self.nest()
        slim = self.folder / "slim.slc"
        done = self.pack(self.store, slim, "--target-bits", 2.7)
        self.assertEqual(done.returncode, 0, done.stderr)
        bits = max(one["width"] for one in sluice_json("info", slim)["resting"])
        self.assertLess(bits, 8)
        for model, width, warned in ((slim, 8, True), (slim, 2, False), (slim, "auto", False), (self.store, 8, False)):
            said = sluice("run", model, "-p", "Once", "-n", 1, "--width", width).stderr.decode()
            self.assertEqual(f"--width {width} is more than the {bits} bits that the experts have" in said, warned, said)

    def test_a_width_for_each_use_takes_planes(self):
        for arguments, words in (((MODEL, "--width", "auto"), "--width auto: its experts have no width but their own"),
                                 ((MODEL, "--narrow", 0.1), "--narrow says how --width auto chooses"),
                                 ((MODEL, "--width", 7), "--width: 7 not in {exact,auto,2,3,4,5,6,8}"),
                                 ((MODEL, "--width", 0), "--width: 0 not in {"),
                                 ((MODEL, "--width", "auto", "--narrow", 0), "--narrow")):
            done = sluice("run", *arguments, "-p", "Once", "-n", 1)
            self.assertIn(done.returncode, (1, 2))
            self.assertIn(words, done.stderr.decode())
        self.nest()
        done = sluice("calibrate", self.store, "--text", self.text(), "--width", "auto")
        self.assertEqual(done.returncode, 1)
        self.assertIn("calibrate with --width exact", done.stderr.decode())

    def test_info_tells_of_widths(self):
        self.nest()
        store, source = (sluice_json("info", model) for model in (self.store, MODEL))
        for key in ("architecture", "tensors", "types", "parameters", "tokenizer", "description", "dense_bytes"):
            self.assertEqual(store[key], source[key], key)
        self.assertEqual([one["width"] for one in store["widths"]], list(WIDTHS))
        self.assertEqual(source["widths"], [])
        self.assertAlmostEqual(source["mean_bits"], 8.5)
        for one in store["widths"]:
            at = sluice_json("info", self.store, "--width", one["width"])
            self.assertEqual((at["mean_bits"], at["widths"]), (one["mean_bits"], store["widths"]))
        size = self.store.stat().st_size
        self.assertTrue(0.9 * size < store["bytes"] < size, store["bytes"])
        shown = sluice("info", self.store).stdout.decode()
        self.assertIn(f"{store['widths'][0]['mean_bits']:.2f} to {store['widths'][-1]['mean_bits']:.2f} bits a weight (nested: --width 2 to 8)", shown)
        self.assertNotIn("widths", sluice("info", MODEL).stdout.decode())

    def test_floats_are_kept_or_dropped(self):
        kept = self.nest(model=FLOATS, out=self.folder / "kept.slc")
        dropped = self.nest("--drop-floats", model=FLOATS, out=self.folder / "dropped.slc")
        self.assertEqual(self.logits(kept), self.logits(FLOATS))
        self.assertEqual(self.logits(dropped), self.logits(kept, "--width", 8))
        self.assertNotEqual(self.logits(kept), self.logits(kept, "--width", 8))
        for width in WIDTHS:
            self.assertEqual(self.logits(dropped, "--width", width), self.logits(kept, "--width", width))
        for model, exact in ((FLOATS, True), (kept, True), (dropped, False)):
            bench = sluice_json("bench", model, "-p", 8, "-n", 1, "-r", 1)
            self.assertEqual(bench["experts"]["exact"], exact)
        source, has, lacks = (sluice_json("info", model) for model in (FLOATS, kept, dropped))
        for key in ("tensors", "parameters"):
            self.assertEqual((has[key], lacks[key]), (source[key], source[key]))
        self.assertEqual(has["types"], source["types"])
        experts = 3 * source["description"]["sparse_layers"]
        self.assertEqual(lacks["types"], {"BF16": source["tensors"] - experts, "nested_8": experts})
        self.assertEqual((has["mean_bits"], has["widths"]), (16, lacks["widths"]))
        self.assertEqual(lacks["mean_bits"], lacks["widths"][-1]["mean_bits"])
        self.assertLess(lacks["bytes"], has["bytes"] - source["expert_bytes"] + 1)

    def test_an_importance_matrix_spends_the_bits_where_they_matter(self):
        text, matrix = self.text(6000), self.folder / "importance.gguf"
        done = sluice("calibrate", MODEL, "--text", text, "--out", self.folder / "fit", "--imatrix", matrix)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.nest()
        weighted = self.nest("--imatrix", matrix, out=self.folder / "weighted.slc")
        self.assertEqual(self.logits(weighted), self.logits(MODEL))
        plain, better = (sluice_json("eval", store, "--text", text, "--width", 2)["perplexity"] for store in (self.store, weighted))
        self.assertLess(better, plain)
        # Of layers that a file does not tell of, the columns count alike.
        other = self.folder / "other.slc"
        self.nest("--keep", "blk.[1-5].*", "--imatrix", matrix, out=other)
        self.assertNotEqual(self.logits(other, "--width", 2), self.logits(MODEL))

    def test_what_was_read_at_one_width_serves_at_another(self):
        self.nest()
        ram = sluice_json("info", self.store, "--ctx", 256)["min_ram"] + 4 * MIB
        warm, trace = self.folder / "warm", self.folder / "trace"
        run = ["run", self.store, "-p", "Once upon a time", "-n", 20, "--temp", 0, "--ctx", 256, "--ram", ram]
        first = sluice_json(*run, "--width", 3, "--warm", warm, "--trace-routing", trace)
        again = sluice_json(*run, "--width", 3, "--warm", warm)
        self.assertEqual(first["text"], again["text"])
        self.assertGreater(again["experts"]["warmed"], 0)
        other = sluice_json(*run, "--width", 6, "--warm", warm)
        self.assertEqual(other["text"], sluice_json(*run, "--width", 6)["text"])
        done = sluice("simulate", trace)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(sluice("bench", self.store, "-p", 16, "-n", 8, "--width", 4).returncode, 0)

    def test_a_width_needs_planes(self):
        text = self.text(500)
        for verb in (["run", MODEL, "-p", "A"], ["eval", MODEL, "--text", text], ["info", MODEL], ["check", MODEL], ["bench", MODEL],
                     ["logits", MODEL, "--ids", 1, "--out", self.folder / "a.npy"],
                     ["calibrate", MODEL, "--text", text, "--out", self.folder / "fit"]):
            done = sluice(*verb, "--width", 4)
            self.assertEqual((done.returncode, done.stdout), (1, b""), verb)
            self.assertIn(b"--width 4: its experts have no width but their own. 'sluice pack MODEL --nested", done.stderr)
        for width in (1, 7, 9, "wide"):
            self.assertNotEqual(sluice("info", MODEL, "--width", width).returncode, 0, width)

    def test_what_cannot_be_nested_is_refused(self):
        said = self.refused("no layer's experts can be nested", ROOT / "tests/data/oracle/dots1", self.store, "--nested")
        self.assertIn("multiple of 32", said)
        self.refused("--keep 'blk.1.ffn_up*': fits no layer's experts", MODEL, self.store, "--nested", "--keep", "blk.1.ffn_up*")
        self.refused("no layer's experts can be nested", MODEL, self.store, "--nested", "--keep", "*")
        for option in (["--drop-floats"], ["--keep", "*"], ["--imatrix", MODEL]):
            done = self.pack(MODEL, self.folder / "a.slc", *option)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(b"--nested", done.stdout + done.stderr)

    def test_planes_stay_what_they_are(self):
        self.nest()
        again = self.folder / "again.slc"
        for arguments in ((), ("--nested",)):
            self.assertEqual(self.pack(self.store, again, *arguments).returncode, 0)
            for width in (3, "exact"):
                self.assertEqual(self.logits(again, "--width", width), self.logits(self.store, "--width", width))
            again.unlink()

    def test_an_importance_matrix_of_another_model_is_refused(self):
        matrix = self.folder / "importance.gguf"
        done = sluice("calibrate", MODEL, "--text", self.text(), "--out", self.folder / "fit", "--imatrix", matrix)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.refused("of another model", FLOATS, self.store, "--nested", "--imatrix", matrix)
        names = matrix.read_bytes().replace(b"_exps.weight", b"_epxs.weight")
        matrix.write_bytes(names)
        self.refused("tells of none of this model's experts: 'sluice calibrate", MODEL, self.store, "--nested", "--imatrix", matrix)
        self.refused("tales.gguf", MODEL, self.store, "--nested", "--imatrix", MODEL)
        self.refused("none.gguf", MODEL, self.store, "--nested", "--imatrix", self.folder / "none.gguf")
        self.assertFalse(self.store.exists())


if __name__ == "__main__":
    unittest.main()
