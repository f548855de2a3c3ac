"""The command and the bundled model, for the tests beside this file. Standard library only."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SLUICE = sys.argv.pop(1) if len(sys.argv) > 1 else "build/release/sluice"
ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = str(ROOT / "models" / "tales.gguf")
STORY = str(ROOT / "tests/data/models/tales/valid.txt")
MIB = 1 << 20
os.environ["SLUICE_MACHINE_COSTS"] = "off"
os.environ["SLUICE_WARM"] = "off"  # no test depends on what another one left


def sluice(*arguments, **options):
    return subprocess.run([SLUICE, *map(str, arguments)], capture_output=True, timeout=300, **options)


def sluice_json(*arguments, **options):
    done = sluice(*arguments, "--json", **options)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.count(b"\n") == 1 and done.stdout.endswith(b"\n"), done.stdout
    return json.loads(done.stdout)


def min_ram(*arguments):
    return sluice_json("info", MODEL, *arguments)["min_ram"]


class Folder(unittest.TestCase):
    """`self.folder` is the test's own and goes with it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, name, content):
        """`content`: text, or what is to be written as JSON."""
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path
