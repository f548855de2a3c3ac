"""What a terminal shows of how far a verb is, and that --quiet shows none of it."""

import os
import pathlib
import pty
import subprocess
import sys
import threading
import unittest

sys.dont_write_bytecode = True
from command import MODEL, SLUICE, STORY, Folder, sluice  # noqa: E402


def shown_on_a_terminal(*arguments):
    """What the command writes to its standard error, a terminal."""
    ours, theirs = pty.openpty()
    pieces = []

    def read():
        try:
            while piece := os.read(ours, 65536):
                pieces.append(piece)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    with subprocess.Popen([SLUICE, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        reader.start()
        status = process.wait(timeout=300)
    reader.join()
    os.close(ours)
    return status, b"".join(pieces)


class Progress(Folder):
    def setUp(self):
        super().setUp()
        self.text = self.folder / "text"
        self.text.write_bytes(pathlib.Path(STORY).read_bytes()[:4000])
        trace = self.folder / "trace"
        self.assertEqual(sluice("run", MODEL, "-p", "Once upon a time", "-n", 20, "--trace-routing", trace).returncode, 0)
        self.verbs = {
            rb"\d+ of 18 replays": ("simulate", trace),
            rb"\d+ tokens \(\d+ %\), perplexity [\d.]+": ("eval", MODEL, "--text", self.text, "--ctx", 256),
            rb"reading the weights: \d+ %": ("check", MODEL),
            rb"\d+ % \(\S+ of \S+\)(, \S+ left)?": ("pack", MODEL, "--out", self.folder / "store.slc"),
        }

    def test_a_terminal_shows_it_and_is_left_clean(self):
        for words, verb in self.verbs.items():
            status, shown = shown_on_a_terminal(*verb)
            self.assertEqual(status, 0, shown)
            self.assertRegex(shown, rb"\rsluice: " + words + rb"\x1b\[K")
            after = shown.rpartition(b"\rsluice: ")[2]
            self.assertIn(b"\r\x1b[K", after)

    def test_quiet_shows_nothing(self):
        for verb in self.verbs.values():
            self.assertEqual(shown_on_a_terminal(*verb, "--quiet"), (0, b""), verb)

    def test_calibrate_says_what_it_does_and_quietly_nothing(self):
        text = self.folder / "longer"
        text.write_bytes(pathlib.Path(STORY).read_bytes()[:8000])
        calibrate = ("calibrate", MODEL, "--text", text, "--fit", 600, "--test", 200, "--out", self.folder / "calibration")
        status, shown = shown_on_a_terminal(*calibrate)
        self.assertEqual(status, 0, shown)
        self.assertIn(b"sluice: ", shown)
        self.assertEqual(shown_on_a_terminal(*calibrate, "--quiet"), (0, b""))


if __name__ == "__main__":
    unittest.main()
