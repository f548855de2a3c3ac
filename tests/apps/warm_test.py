"""What a run keeps for the next one: where it lies, who writes it, and that it is a hint and no more."""

import json
import os
import pathlib
import pty
import shutil
import struct
import subprocess
import sys
import time
import unittest

from command import MIB, MODEL, SLUICE, STORY, Folder, min_ram, sluice, sluice_json

RAM = None  # set below: a cache that holds a part of the experts
RUN = ["-p", "Once upon a time", "-n", 40, "--temp", 0, "--ctx", 256]
NOBODY = 65534


class Warm(Folder):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "tales.gguf"
        try:
            os.link(MODEL, self.model)
        except OSError:  # of another file system
            shutil.copy(MODEL, self.model)
        self.hot_set = self.folder / "tales.gguf.warm"
        self.environment = {name: value for name, value in os.environ.items() if name != "SLUICE_WARM"}

    def run_it(self, *arguments, **environment):
        return sluice_json("run", self.model, *RUN, "--ram", RAM, *arguments, env={**self.environment, **environment})

    def names(self):
        return sorted(path.name for path in self.folder.iterdir())

    def test_the_next_run_begins_with_what_this_one_had(self):
        cold = self.run_it()
        self.assertEqual(cold["experts"]["warmed"], 0)
        self.assertEqual(self.names(), ["tales.gguf", "tales.gguf.warm"])
        self.assertLess(self.hot_set.stat().st_size, 4096)
        warm = self.run_it()
        self.assertGreater(warm["experts"]["warmed"], 0)
        self.assertEqual(warm["text"], cold["text"])
        self.assertEqual(sum(layer["warmed"] for layer in warm["experts"]["layers"]), warm["experts"]["warmed"])
        said = sluice_json("info", self.model, env=self.environment)["warm"]
        self.assertEqual(said["file"], str(self.hot_set))
        self.assertGreater(said["experts"], 0)
        done = sluice("info", self.model, env=self.environment)
        self.assertIn(f"{said['experts']} experts in {self.hot_set}".encode(), done.stdout)

    def test_the_first_file_is_announced_and_no_other(self):
        first, second = (sluice("run", self.model, *RUN, env=self.environment).stderr for _ in range(2))
        self.assertIn(str(self.hot_set).encode(), first)
        self.assertIn(b"--warm off", first)
        self.assertNotIn(b".warm", second)

    def test_statistics_say_what_was_read_and_kept(self):
        self.run_it()
        done = sluice("run", self.model, *RUN, "--ram", RAM, "--stats", env=self.environment)
        self.assertRegex(done.stderr.decode(), r"hot set: \d+ of \d+ experts .* kept in .*tales\.gguf\.warm")

    def test_off_and_the_verbs_that_measure_leave_nothing(self):
        self.run_it("--warm", "off")
        self.run_it(SLUICE_WARM="off")
        self.assertEqual(sluice_json("info", self.model, "--warm", "off")["warm"], {})
        for verb in (["bench", "-p", 4, "-n", 4, "-r", 1, "--no-ceilings"], ["logits", "--ids", "1,2", "--out", os.devnull],
                     ["info"], ["eval", "--text", self.short_text(), "--ctx", 64]):
            done = sluice(verb[0], self.model, *verb[1:], env=self.environment)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.names(), ["short.txt", "tales.gguf"])

    def short_text(self):
        path = self.folder / "short.txt"
        path.write_text(pathlib.Path(STORY).read_text()[:300])
        return path

    def test_a_chat_keeps_it_too(self):
        done = sluice("chat", self.model, "-p", "Tell me a story", "-n", 8, env=self.environment)
        self.assertEqual((done.returncode, self.hot_set.exists()), (0, True), done.stderr)

    def test_while_a_person_types_everything_is_read(self):
        self.run_it()
        kept = sluice_json("info", self.model, env=self.environment)["warm"]["experts"]
        ours, theirs = pty.openpty()
        process = subprocess.Popen([SLUICE, "chat", str(self.model), "--ram", str(RAM + 20 * MIB), "--ctx", "256", "-n", "2", "--stats"],
                                   stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.environment)
        os.close(theirs)
        said = b""
        while not said.endswith(b"> "):
            said += process.stderr.read(1)
        time.sleep(1)
        os.write(ours, b"/exit\n")
        said = process.communicate(timeout=60)[1].decode()
        os.close(ours)
        self.assertEqual(process.returncode, 0, said)
        self.assertIn(f"hot set: {kept} of {kept} experts", said)

    def test_a_file_of_ones_own(self):
        mine = self.folder / "mine"
        self.run_it("--warm", mine)
        self.assertEqual(self.names(), ["mine", "tales.gguf"])
        self.assertGreater(self.run_it(SLUICE_WARM=str(mine))["experts"]["warmed"], 0)
        done = sluice("run", self.model, *RUN, "--warm", "", env=self.environment)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"--warm: an empty name", done.stderr)

    def test_a_wrong_file_is_named_and_changes_nothing(self):
        text = self.run_it()["text"]
        whole = self.hot_set.read_bytes()
        wrong = {"cut short": whole[:-9], "version 7": whole[:8] + struct.pack("<I", 7) + whole[12:],
                 "another model": whole[:20] + bytes(8) + whole[28:], "damaged": whole[:-20] + b"\xff\xff\xff\xff" + whole[-16:]}
        for what, content in wrong.items():
            self.hot_set.write_bytes(content)
            done = sluice("run", self.model, *RUN, "--ram", RAM, "-q", env=self.environment)
            self.assertEqual((done.returncode, done.stdout.decode().strip()), (0, RUN[1] + text), what)
            self.assertIn(what, done.stderr.decode())
            self.assertIn(str(self.hot_set), done.stderr.decode())
            self.assertEqual(sluice_json("info", self.model, env=self.environment)["warm"]["experts"] > 0, True, what)

    def test_what_is_no_hot_set_is_left_as_it_is(self):
        note = self.folder / "note.txt"
        note.write_text("mine")
        before = self.model.stat()
        for path in (note, self.folder, "/dev/null", self.folder / "no" / "folder"):
            done = sluice("run", self.model, *RUN, "--warm", path, "-q", env=self.environment)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(str(path), done.stderr.decode())
        done = sluice("run", self.model, *RUN, "--warm", self.model, "-q", env=self.environment)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"the model itself", done.stderr)
        self.assertEqual(note.read_text(), "mine")
        self.assertEqual((self.model.stat().st_mtime_ns, self.model.stat().st_size), (before.st_mtime_ns, before.st_size))
        self.assertEqual(self.names(), ["note.txt", "tales.gguf"])

    def test_beside_a_model_that_others_own_it_lies_in_the_cache_folder(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to be somebody else")
        cache = self.folder / "cache"
        cache.mkdir()
        os.chown(cache, NOBODY, NOBODY)
        os.chmod(self.folder, 0o755)
        environment = {**self.environment, "XDG_CACHE_HOME": str(cache)}
        command = [os.path.abspath(SLUICE), "run", str(self.model), *map(str, RUN), "--ram", str(RAM)]
        try:
            done = subprocess.run(command, user=NOBODY, group=NOBODY, cwd="/", capture_output=True, timeout=300, env=environment)
        except PermissionError:
            self.skipTest("the program lies where nobody else comes")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.names(), ["cache", "tales.gguf"])
        (kept,) = (cache / "sluice").iterdir()
        self.assertRegex(kept.name, r"^tales\.gguf-[0-9a-f]{16}\.warm$")
        self.assertIn(str(kept), done.stderr.decode())
        again = subprocess.run([*command, "--json"], user=NOBODY, group=NOBODY, cwd="/", capture_output=True, timeout=300, env=environment)
        self.assertGreater(json.loads(again.stdout)["experts"]["warmed"], 0)
        homeless = {name: value for name, value in environment.items() if name not in ("HOME", "XDG_CACHE_HOME")}
        for nowhere in (homeless, {**environment, "XDG_CACHE_HOME": "/dev/null"}):
            done = subprocess.run(command, user=NOBODY, group=NOBODY, cwd="/", capture_output=True, timeout=300, env=nowhere)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stderr.count(b"is not kept for the next run"), 1, done.stderr)
        self.assertEqual(self.names(), ["cache", "tales.gguf"])


if __name__ == "__main__":
    RAM = min_ram("--ctx", 256) + 6 * MIB
    unittest.main(argv=sys.argv)
