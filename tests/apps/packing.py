"""What tests of packed stores share. Standard library only."""

import os
import pathlib

from command import MODEL, ROOT, STORY, Folder, sluice

FLOATS = ROOT / "tests/data/oracle/qwen3_moe_tied_dense"


class Pack(Folder):
    def setUp(self):
        super().setUp()
        self.store = self.folder / "tales.slc"

    def pack(self, model=MODEL, out=None, *arguments, **options):
        return sluice("pack", model, "--out", out or self.store, *arguments, **options)

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


class Planes(Pack):
    """Stores whose experts are in groups of planes."""

    def nest(self, *arguments, model=MODEL, out=None):
        out = out or self.store
        done = sluice("pack", model, "--out", out, "--nested", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return out

    def text(self, size=3000):
        return self.file("text.txt", pathlib.Path(STORY).read_text(encoding="utf-8")[:size])
