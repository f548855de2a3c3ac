"""A store as its users have it: made by the command, run like the model that it was made of. Standard library only."""

import fcntl
import json
import os
import pathlib
import resource
import shutil
import struct
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
from command import MIB, MODEL, ROOT, SLUICE, Folder, min_ram, sluice, sluice_json  # noqa: E402

NOBODY = 65534
DATA = os.environ.get("SLUICE_TEST_DATA")


class Pack(Folder):
    def setUp(self):
        super().setUp()
        self.store = self.folder / "tales.slc"

    def pack(self, model=MODEL, out=None, **options):
        return sluice("pack", model, "--out", out or self.store, **options)

    def refused(self, word, *arguments, **options):
        done = self.pack(*arguments, **options)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(word, done.stderr.decode())
        return done.stderr.decode()

    def names(self):
        return sorted(os.listdir(self.folder))

    def logits(self, model, *arguments):
        out = self.folder / "logits.npy"
        done = sluice("logits", model, "--ids", ",".join(str(i) for i in range(1, 25)), "--out", out, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        data = out.read_bytes()
        out.unlink()
        return data


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
        journal.write_bytes(struct.pack("<8sQQ", b"SLCPACK1", 1, 1))
        self.refused("without the journal")  # its check is wrong
        (self.folder / "tales.slc.partial").write_bytes(b"")
        done = self.pack()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.store.read_bytes(), whole)
        self.assertEqual(self.names(), ["tales.slc"])


if __name__ == "__main__":
    unittest.main()
