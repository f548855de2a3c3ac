"""What the command says and does where something is too long, too small, not a number or interrupted. Standard library only."""

import json
import os
import pathlib
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
from command import MODEL, ROOT, SLUICE, STORY, sluice, sluice_json  # noqa: E402
from gguf_patch import F32, Gguf  # noqa: E402


class ContextShift(unittest.TestCase):
    def continued(self, text, *arguments):
        return sluice_json("run", MODEL, "-n", 3, "--temp", 0, "--ignore-eos", *arguments, input=text.encode())

    def test_a_prompt_longer_than_the_context_loses_its_older_part(self):
        # As if it had come token by token: each time that 64 positions are full, the newer 32 are left.
        ids = sluice_json("tokenize", MODEL, "--text", pathlib.Path(STORY).read_text()[:3000])
        for count in (65, 96, 97, 128, 129, 300):
            left = count
            while left > 64:
                left -= 32
            text, newest = (sluice_json("tokenize", MODEL, "--decode", ",".join(map(str, part)))["text"]
                            for part in (ids[:count], ids[count - left:count]))
            self.assertEqual(len(sluice_json("tokenize", MODEL, input=text.encode())), count)
            self.assertEqual(sluice_json("tokenize", MODEL, input=newest.encode()), ids[count - left:count])
            shifted = self.continued(text, "--ctx", 64, "--ctx-shift")
            self.assertEqual(shifted["prompt_tokens"], left)
            self.assertEqual(shifted["tokens"], self.continued(newest, "--ctx", 64, "--ctx-shift")["tokens"])

    def test_it_is_said_and_the_whole_text_is_shown(self):
        prompt = "Once upon a time there was"
        done = sluice("run", MODEL, "-n", 4, "--temp", 0, "-p", prompt, "--ctx", 3, "--ctx-shift")
        self.assertEqual(done.returncode, 0)
        self.assertTrue(done.stdout.startswith(prompt.encode()), done.stdout)
        self.assertIn(b"of 6 tokens the last 2 are left", done.stderr)

    def test_the_length_of_a_shifted_prompt_costs_no_memory(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(pathlib.Path(STORY).read_bytes() * 100)
            file.flush()
            self.assertGreater(os.path.getsize(file.name), 10_000_000)
            long = sluice_json("run", MODEL, "-f", file.name, "-n", 2, "--ctx", 64, "--ctx-shift", "--ram", "64M")
        self.assertLess(long["memory"]["peak_rss"], 64 << 20)


class Remedies(unittest.TestCase):
    def expect(self, status, words, *arguments, **options):
        done = sluice(*arguments, **options)
        self.assertEqual(done.returncode, status, done.stderr)
        for word in words:
            self.assertIn(word.encode(), done.stderr)
        return done.stderr

    def test_a_full_context_names_what_the_verb_has(self):
        self.expect(1, ["--ctx-shift", "--ctx)"], "run", MODEL, "-p", "Once upon a time there was", "--ctx", 3)
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "x.npy")
            said = self.expect(1, ["3", "2", "--ctx"], "logits", MODEL, "--ids", "1,2,3", "--ctx", 2, "--out", out)
            self.assertEqual(os.listdir(folder), [])
        self.assertNotIn(b"shift", said)
        said = self.expect(1, ["--ctx"], "bench", MODEL, "-p", 8, "-n", 8, "--ctx", 10, "--no-ceilings")
        self.assertNotIn(b"shift", said)

    def test_a_part_of_a_folder_names_the_folder(self):
        folder = ROOT / "tests/data/oracle/qwen2_moe"
        for part in ("model.safetensors", "config.json"):
            self.expect(2, [part, f"give the folder, {folder}"], "info", folder / part)

    def test_a_file_that_is_not_there_is_named_with_its_option(self):
        for verb, option in (("run", "--file"), ("tokenize", "--file"), ("eval", "--text"), ("calibrate", "--text"), ("chat", "--file"),
                             ("chat", "--template"), ("chat", "--load"), ("chat", "--render")):
            self.expect(1, [f"{option} nowhere/text: No such file", "name a file"], verb, MODEL, option, "nowhere/text")

    def test_a_context_beyond_the_models_own_is_warned_of(self):
        own = sluice_json("info", MODEL)["description"]["context_length"]
        for verb in (["run", "-p", "Once", "-n", 1], ["bench", "-p", 1, "-n", 1, "-r", 1, "--no-ceilings"]):
            done = sluice(verb[0], MODEL, *verb[1:], "-q", "--ctx", own + 1)
            self.assertEqual(done.returncode, 0)
            self.assertIn(f"{own} positions".encode(), done.stderr)
            self.assertEqual(b"", sluice(verb[0], MODEL, *verb[1:], "-q", "--ctx", own).stderr)

    def test_a_budget_beyond_what_there_is_is_warned_of(self):
        for ram, warned in (("64M", False), ("1000T", True)):
            done = sluice("run", MODEL, "-p", "Once", "-n", 1, "--ctx", 64, "--ram", ram)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(b"is more than the" in done.stderr, warned, done.stderr)
        done = sluice("check", MODEL, "--ctx", 64, "--ram", "1000T")
        self.assertIn(b"is more than the", done.stderr)

    @unittest.skipIf(os.path.exists("/dev/nvidiactl"), "there is a GPU")
    def test_memory_of_a_gpu_that_is_not_there_is_refused(self):
        self.expect(1, ["--vram 2G", "no GPU", "leave that out, or ask for 0"],
                    "logits", MODEL, "--ids", "1", "--out", "/dev/null", "--vram", "2G")
        self.expect(2, ["--vram"], "logits", MODEL, "--ids", "1", "--out", "/dev/null", "--vram", "much")
        if b"--gpu-layers" in sluice("logits", "--help").stdout:  # a build with CUDA
            self.expect(1, ["--gpu-layers 2", "--vram"], "logits", MODEL, "--ids", "1", "--out", "/dev/null", "--gpu-layers", "2")
        with tempfile.TemporaryDirectory() as folder:
            done = sluice("logits", MODEL, "--ids", "1", "--out", os.path.join(folder, "x.npy"), "--vram", "0")
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_wrong_values_name_the_range(self):
        for option in ("--top-k", "-n", "--batch"):
            self.expect(2, ["-1", "0 to 4294967295" if option != "-n" else "0"], "run", MODEL, "-p", "x", option, "-1")
        self.expect(2, ["--stop", "empty"], "run", MODEL, "-p", "x", "--stop", "")

    def test_a_window_without_a_prediction_is_named(self):
        self.expect(1, ["--ctx 1", "at least 2"], "eval", MODEL, "--text", STORY, "--ctx", 1)
        self.expect(1, ["--half", "at least 3"], "eval", MODEL, "--text", STORY, "--ctx", 2, "--half")

    def test_asked_statistics_are_printed_quietly_too(self):
        for verb in (["run", "-p", "Once", "-n", "2"], ["logits", "--ids", "1,2", "--out", "/dev/null"]):
            said = self.expect(0, ["experts:", "dense weights: 2.", "memory: peak", "in vain"], verb[0], MODEL, *verb[1:], "-q", "--stats")
            self.assertNotIn(b"of RAM", said)


class GenerationConfig(unittest.TestCase):
    def test_nonsense_is_warned_of_with_its_file_and_field(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name)
        for name in ("config.json", "model.safetensors"):
            (path / name).symlink_to(ROOT / "tests/data/oracle/qwen2_moe" / name)
        (path / "tokenizer.json").write_text(json.dumps({
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}}))
        settings = {"do_sample": True, "temperature": 1e30, "top_p": 0.5, "eos_token_id": [1, 99999999]}
        (path / "generation_config.json").write_text(json.dumps(settings))
        done = sluice("run", path, "-p", "ab", "-n", 3, "--ctx", 64)
        self.assertEqual(done.returncode, 0, done.stderr)
        file = str(path / "generation_config.json").encode()
        warnings = [line for line in done.stderr.splitlines() if file in line]
        self.assertEqual(len(warnings), 2, done.stderr)
        self.assertIn(b"'eos_token_id' 99999999 is outside the vocabulary of 3", warnings[0])
        self.assertIn(b"'temperature' is 1e+30, outside 0 to 100: 0.8 is used", warnings[1])
        self.assertIn(b"--temp", warnings[1])


class NotANumber(unittest.TestCase):
    def damaged(self, folder):
        """The bundled model with a last norm that is not a number."""
        model = Gguf(MODEL)
        (size,), kind, offset = model.tensors["output_norm.weight"]
        self.assertEqual(kind, F32)
        struct.pack_into(f"<{size}f", model.data, offset, *[float("nan")] * size)
        return model.write(pathlib.Path(folder) / "damaged.gguf")

    def test_every_verb_says_so(self):
        with tempfile.TemporaryDirectory() as folder:
            path, out = self.damaged(folder), os.path.join(folder, "x.npy")
            for verb in (["eval", "--text", str(ROOT / "README.md"), "--ctx", "64"], ["bench", "-p", "4", "-n", "2", "--no-ceilings"],
                         ["logits", "--ids", "1,2,3", "--out", out], ["run", "-p", "Once"]):
                done = sluice(verb[0], path, *verb[1:], "--json")
                self.assertEqual((done.returncode, done.stdout), (1, b""), verb)
                self.assertIn(b"not numbers", done.stderr)
                self.assertIn(b"damaged.gguf: the", done.stderr)
                self.assertIn(b"'sluice check'", done.stderr)
                self.assertTrue(verb[0] == "run" or b"the logits at position" in done.stderr, done.stderr)
            self.assertEqual(os.listdir(folder), ["damaged.gguf"])
            # The remedy keeps its promise.
            self.assertIn(b"output_norm.weight", sluice("check", path).stdout)


class Progress(unittest.TestCase):
    def test_the_share_of_a_text_is_what_was_scored_of_it(self):
        text = pathlib.Path(STORY).read_text()[:20000]
        total = len(sluice_json("tokenize", MODEL, input=text.encode()))
        master, terminal = pty.openpty()
        with tempfile.NamedTemporaryFile() as file:
            file.write(text.encode())
            file.flush()
            process = subprocess.Popen([SLUICE, "eval", MODEL, "--text", file.name, "--ctx", "512"], stdout=subprocess.DEVNULL, stderr=terminal)
            os.close(terminal)
            said = b""
            try:
                while part := os.read(master, 4096):
                    said += part
            except OSError:  # what a terminal without a process gives
                pass
            self.assertEqual(process.wait(timeout=60), 0)
            os.close(master)
        shares = [(int(tokens), int(percent)) for tokens, percent in re.findall(rb"(\d+) tokens \((\d+) %\)", said)]
        self.assertGreaterEqual(len(shares), 1)  # how many of them are shown is a matter of time
        for tokens, percent in shares:
            self.assertLessEqual(abs(percent - 100 * tokens / total), 1, shares)


class InterruptedJson(unittest.TestCase):
    def test_run_prints_its_object_whenever_it_is_stopped(self):
        text = pathlib.Path(STORY).read_text()[:4000]
        # While it waits for the prompt, while it computes it, and later.
        for given, seconds in ((None, 0.3), (text, 0), (text, 0.05), (text, 0.1), (text, 0.2), (text, 0.5)):
            process = subprocess.Popen([SLUICE, "run", MODEL, "-n", "1000000", "--ignore-eos", "--ctx-shift", "--batch", "1", "--json"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            process.stderr.readline()  # the model is open
            if given is not None:
                process.stdin.write(given.encode())
                process.stdin.close()
                process.stdin = None  # so that communicate leaves it
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            # An open input is closed only when the process has gone.
            self.assertEqual(process.wait(timeout=30), 130)
            result = json.loads(process.stdout.read())
            self.assertEqual(result["finish_reason"], "cancelled")
            self.assertIn("memory", result)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


if __name__ == "__main__":
    unittest.main()
