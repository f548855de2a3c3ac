"""The command line as its users' scripts see it: output, exit status, budgets. Standard library only."""

import array
import contextlib
import json
import math
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
from command import MIB, MODEL, ROOT, SLUICE, STORY, min_ram, sluice, sluice_json  # noqa: E402


class Budget(unittest.TestCase):
    def test_peak_memory_stays_under_every_budget_and_the_text_is_the_same(self):
        least = min_ram("--ctx", 256)
        texts = set()
        for ram in [least, least + 2 * MIB, least + 5 * MIB, least + 10 * MIB, least + 200 * MIB]:
            result = sluice_json("run", MODEL, "-p", "Once upon a time", "-n", 120, "--temp", 0, "--ctx", 256, "--ram", ram)
            self.assertLessEqual(result["memory"]["peak_rss"], ram)
            self.assertEqual(result["memory"]["ram_budget"], ram)
            texts.add(result["text"])
        self.assertEqual(len(texts), 1)

    def test_the_smallest_budget_holds_at_most_half_of_the_experts(self):
        result = sluice_json("run", MODEL, "-p", "Once", "-n", 4, "--ctx", 256, "--ram", min_ram("--ctx", 256))
        experts = sluice_json("info", MODEL)["expert_bytes"]
        self.assertLessEqual(result["memory"]["expert_cache"], experts / 2)
        experts = result["experts"]
        ahead = experts["hits"] + experts["loads"] - experts["requests"]  # read before it was asked for, or for nobody
        self.assertTrue(0 <= ahead <= experts["expected"], experts)
        self.assertGreater(result["experts"]["bytes_read"], 0)

    def test_below_the_smallest_budget_is_refused_with_its_number(self):
        least = min_ram("--ctx", 256)
        done = sluice("run", MODEL, "-p", "x", "--ctx", 256, "--ram", least - 1)
        self.assertEqual(done.returncode, 1)
        for word in (str(least), "--ram", "--ctx", "--kv"):
            self.assertIn(word.encode(), done.stderr)
        self.assertEqual(done.stdout, b"")

    def test_bytes_read_are_what_the_kernel_counts(self):
        script = "import subprocess, sys, json, resource\n" \
                 "r = subprocess.run(sys.argv[1:], capture_output=True); print(r.stdout.decode()); " \
                 "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock * 512)"
        command = [SLUICE, "eval", MODEL, "--text", str(ROOT / "tests/data/models/tales/valid.txt"), "--ctx", "64", "--batch", "16",
                   "--ram", str(min_ram("--ctx", 64)), "--json"]
        short = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "text" if hasattr(self, "enterContext") else None
        if short is None:
            folder = tempfile.TemporaryDirectory()
            self.addCleanup(folder.cleanup)
            short = pathlib.Path(folder.name) / "text"
        short.write_text((ROOT / "tests/data/models/tales/valid.txt").read_text()[:12000])
        command[4] = str(short)
        info = sluice_json("info", MODEL)
        if not info["reader"]["direct"]:
            self.skipTest("reads are not direct here")
        out = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, check=True).stdout.decode().split("\n")
        result, kernel = json.loads(out[0]), int([line for line in out if line.strip()][-1])
        if kernel == 0:
            self.skipTest("the kernel does not count block reads here")
        ours = result["experts"]["bytes_read"] + result["dense"]["bytes_read"]
        self.assertGreater(ours, 50 * MIB)
        self.assertLess(abs(kernel - ours) / ours, 0.02, (kernel, ours))


    def test_the_length_of_a_text_costs_no_memory(self):
        least = min_ram("--ctx", 64)
        with tempfile.TemporaryDirectory() as folder:
            text = os.path.join(folder, "text")
            story = pathlib.Path(STORY).read_bytes()
            with open(text, "wb") as file:
                while file.tell() < 200_000_000:
                    file.write(story)
            process = subprocess.Popen([SLUICE, "eval", MODEL, "--text", text, "--ctx", "64", "--ram", str(least), "--json"],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            process.stderr.readline()
            time.sleep(3)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 130, err)
            self.assertLessEqual(json.loads(out)["memory"]["peak_rss"], least)
            os.truncate(text, 50_000_000)
            status, peak = self.status_and_peak("tokenize", MODEL, "--file", text)
            self.assertEqual(status, 0)
            self.assertLess(peak, 24 * MIB)

    def test_awkward_prompts_stay_within_the_budget(self):
        # As long without a place to cut as is allowed.
        least = min_ram("--ctx", 256)
        for text in ("a" * 60000, "é" * 28000, "1" * 60000, "a" + "\u0301" * 20000, "!" * 60000, "中" * 20000, " " * 60000):
            with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
                file.write((text + "\n") * 2)
                file.flush()
                status, peak = self.status_and_peak("run", MODEL, "-f", file.name, "--ctx", 256, "--ram", least)
            self.assertEqual(status, 1)  # far more tokens than the context holds
            self.assertLessEqual(peak, least)

    def status_and_peak(self, *arguments):
        script = "import subprocess, sys, resource; n = subprocess.run(sys.argv[1:], stdout=-3, stderr=-3).returncode; " \
                 "print(n, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        out = subprocess.run([sys.executable, "-c", script, SLUICE, *map(str, arguments)], capture_output=True, check=True)
        status, peak_kib = map(int, out.stdout.split())
        return status, peak_kib << 10


class Verbs(unittest.TestCase):
    def test_run_reports_as_promised(self):
        result = sluice_json("run", MODEL, "-p", "Once upon a time", "-n", 20, "--temp", 0)
        self.assertEqual(len(result["tokens"]), 20)
        self.assertEqual(result["prompt_tokens"], 4)
        for key in ("prefill_tok_s", "decode_tok_s", "first_token_ms"):
            self.assertGreater(result["timings"][key], 0)
        for key in ("requests", "hits", "loads", "bytes_read", "wait_ms"):
            self.assertIn(key, result["experts"])
        self.assertEqual((result["experts"]["policy"], result["experts"]["predict"]), ("auto", "auto"))

    def test_what_was_asked_of_the_experts_is_named(self):
        for verb in (["run", "-p", "Once", "-n", 2], ["bench", "-p", 2, "-n", 2, "-r", 1, "--no-ceilings"]):
            experts = sluice_json(verb[0], MODEL, *verb[1:], "--policy", "lfru", "--predict", "affinity")["experts"]
            self.assertEqual((experts["policy"], experts["predict"]), ("lfru", "affinity"))

    def test_what_layers_say_of_their_experts_adds_up(self):
        result = sluice_json("run", MODEL, "-p", "Once upon a time", "-n", 60, "--temp", 0, "--ctx", 256,
                             "--predict", "both", "--ram", min_ram("--ctx", 256) + 2 * MIB)
        layers = result["experts"]["layers"]
        self.assertEqual([layer["layer"] for layer in layers], list(range(6)))
        for key, total in result["experts"].items():
            if key not in ("layers", "hit_rate", "mean_bits", "exact", "policy", "predict", "width"):
                self.assertAlmostEqual(sum(layer[key] for layer in layers), total, msg=key)
        for layer in layers:
            self.assertEqual(layer["expected_rightly"] + layer["wasted"], layer["expected"], layer)
            self.assertLessEqual(layer["late"], layer["expected_rightly"])
            self.assertGreater(layer["hits"], 0)
        self.assertGreater(result["experts"]["expected_rightly"], 0)

    def test_run_reads_its_prompt_from_anywhere_and_streams_the_same_text(self):
        wanted = sluice_json("run", MODEL, "-p", "A cat", "-n", 10, "--temp", 0)["text"]
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("A cat")
            file.flush()
            from_file = sluice("run", MODEL, "-f", file.name, "-n", 10, "--temp", 0)
        from_stdin = sluice("run", MODEL, "-n", 10, "--temp", 0, input=b"A cat")
        for done in (from_file, from_stdin):
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stdout.decode(), "A cat" + wanted + "\n")

    def test_the_same_seed_gives_the_same_text(self):
        texts = [sluice_json("run", MODEL, "-p", "A dog", "-n", 30, "--temp", 1, "--seed", seed)["text"] for seed in (1, 1, 2)]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])

    def test_perplexity_is_transformers(self):
        # 8-bit activations and a float16 cache cost less than half a percent of perplexity; float32 ones nearly nothing.
        golden = {entry["ctx"]: entry["perplexity"] for entry in
                  json.loads((ROOT / "tests/data/models/tales/golden.json").read_text())["q8_0"]}
        text = ROOT / "tests/data/models/tales/valid.txt"
        result = sluice_json("eval", MODEL, "--text", text, "--ctx", 256)
        self.assertEqual(result["tokens"], 54422)
        self.assertLess(abs(result["perplexity"] / golden[256] - 1), 5e-3)
        self.assertAlmostEqual(math.exp(result["nll"]), result["perplexity"], places=6)
        exact = sluice_json("eval", MODEL, "--text", text, "--ctx", 256, "--compute", "f32", "--kv", "f32")
        self.assertLess(abs(exact["perplexity"] / golden[256] - 1), 2e-5)

    def test_half_scores_the_second_halves(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write((ROOT / "tests/data/models/tales/valid.txt").read_text()[:20000])
            file.flush()
            whole = sluice_json("eval", MODEL, "--text", file.name, "--ctx", 128)
            half = sluice_json("eval", MODEL, "--text", file.name, "--ctx", 128, "--half")
        self.assertLess(abs(half["tokens"] / whole["tokens"] - 0.5), 0.02)
        self.assertLess(half["perplexity"], whole["perplexity"])  # with more of the story known

    def test_logits_writes_a_numpy_file(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "x.npy")
            self.assertEqual(sluice("logits", MODEL, "--ids", "1,2,3", "--out", out).returncode, 0)
            data = pathlib.Path(out).read_bytes()
        self.assertEqual(data[:8], b"\x93NUMPY\x01\x00")
        length = struct.unpack("<H", data[8:10])[0]
        self.assertEqual((10 + length) % 64, 0)
        header = eval(data[10:10 + length], {"__builtins__": {}}, {"False": False})  # a literal, as NumPy itself reads it
        self.assertEqual(header, {"descr": "<f4", "fortran_order": False, "shape": (3, 4096)})
        self.assertEqual(len(data), 10 + length + 3 * 4096 * 4)

    def test_tokenize_there_and_back(self):
        ids = sluice_json("tokenize", MODEL, "--text", "Once upon a time")
        self.assertIsInstance(ids, list)
        self.assertEqual(sluice_json("tokenize", MODEL, "--decode", ",".join(map(str, ids)))["text"], "Once upon a time")
        self.assertEqual(sluice_json("tokenize", MODEL, input=b"Once upon a time"), ids)
        self.assertEqual(sluice_json("tokenize", MODEL, "--text", "<|im_end|>"), [4095])

    def test_bench_reports_as_promised(self):
        result = sluice_json("bench", MODEL, "-p", 32, "-n", 8, "-r", 3)
        for phase in ("prefill", "decode"):
            self.assertLessEqual(result[phase]["min"], result[phase]["tok_s"])
            self.assertLessEqual(result[phase]["tok_s"], result[phase]["max"])
        self.assertGreater(result["ceilings"]["ram_read_gbs"], 0.5)
        self.assertGreater(result["ceilings"]["disk_read_gbs"], 0)
        self.assertGreater(result["ceilings"]["disk_beside_ram_gbs"], 0)
        self.assertIn("hits", result["experts"])
        self.assertIn("peak_rss", result["memory"])


class Mistakes(unittest.TestCase):
    def expect(self, status, words, *arguments, **options):
        done = sluice(*arguments, **options)
        self.assertEqual(done.returncode, status, done.stderr)
        for word in words:
            self.assertIn(word, (done.stderr + done.stdout).decode())

    def test_wrong_usage_is_2(self):
        self.expect(2, ["nonsense"], "nonsense")
        self.expect(2, [], "run")
        self.expect(2, ["--frobnicate"], "run", MODEL, "--frobnicate")
        self.expect(2, ["--kv"], "run", MODEL, "--kv", "f17")
        self.expect(2, ["--threads"], "run", MODEL, "--threads", "0")
        for size in ("12Q", "", "0", "-1", "nan"):
            self.expect(2, ["--ram"], "run", MODEL, "-p", "x", f"--ram={size}")
        self.expect(2, ["--policy"], "run", MODEL, "--policy", "wish")
        self.expect(2, ["finite"], "run", MODEL, "-p", "x", "--min-p", "nan")

    def test_failures_are_1_and_name_the_thing(self):
        self.expect(1, ["/nowhere/model.gguf"], "run", "/nowhere/model.gguf", "-p", "x")
        self.expect(1, ["1,x"], "logits", MODEL, "--ids", "1,x", "--out", "/tmp/x.npy")
        self.expect(1, ["99999"], "logits", MODEL, "--ids", "99999", "--out", "/dev/null")
        self.expect(1, ["/nowhere/x.npy"], "logits", MODEL, "--ids", "1", "--out", "/nowhere/x.npy")
        self.expect(1, ["prompt"], "run", MODEL, "-p", "")
        self.expect(1, ["--ctx"], "run", MODEL, "-p", "one two three four five six seven eight", "--ctx", "4")

    def test_a_truncated_or_foreign_file_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            cut = pathlib.Path(folder) / "cut.gguf"
            cut.write_bytes(pathlib.Path(MODEL).read_bytes()[:5_000_000])
            self.expect(1, ["cut.gguf"], "run", str(cut), "-p", "x")
            noise = pathlib.Path(folder) / "noise.gguf"
            noise.write_bytes(os.urandom(4096))
            self.expect(1, ["noise.gguf"], "info", str(noise))
            (pathlib.Path(folder) / "empty").mkdir()
            self.expect(1, ["config.json"], "info", str(pathlib.Path(folder) / "empty"))

    def patched(self, folder, key, value):
        """The bundled model with one 32-bit setting changed."""
        data = bytearray(pathlib.Path(MODEL).read_bytes())
        at = data.index(key) + len(key)
        self.assertEqual(struct.unpack_from("<I", data, at)[0], 4)  # GGUF's number for uint32
        struct.pack_into("<I", data, at + 4, value)
        path = pathlib.Path(folder) / "patched.gguf"
        path.write_bytes(data)
        return str(path)

    def rewritten(self, folder, key, value):
        """The bundled model with the bytes of one setting's value replaced."""
        data = bytearray(pathlib.Path(MODEL).read_bytes())
        at = data.index(key) + len(key) + 4
        if isinstance(value, bytes):  # a string, filled up to the length that it had
            length = struct.unpack_from("<Q", data, at)[0]
            value = struct.pack("<Q", length) + value.ljust(length)[:length]
        else:
            value = value.tobytes()
        data[at:at + len(value)] = value
        path = pathlib.Path(folder) / "rewritten.gguf"
        path.write_bytes(data)
        return str(path)

    def test_sampling_that_no_option_would_accept_is_not_taken_from_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            for key, kind, values in (("temp", "f", (math.nan, -1.0, 1e30, math.inf)), ("top_p", "f", (math.nan, -0.1, 1.5)),
                                      ("top_k", "i", (-1, -2**31))):
                for value in values:
                    path = self.rewritten(folder, f"general.sampling.{key}".encode(), array.array(kind, [value]))
                    done = sluice("run", path, "-p", "Once", "-n", 3)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    name = "temperature" if key == "temp" else key
                    self.assertIn(f"'sampling.{name}' is ".encode(), done.stderr)
                    option = f"--{key.replace('_', '-')}"
                    self.assertIn(option.encode(), done.stderr)
                    # Said, it is not looked for in the file.
                    self.assertNotIn(b"sampling", sluice("run", path, "-p", "Once", "-n", 3, option, "1").stderr)

    def test_names_from_files_command_no_terminal(self):
        with tempfile.TemporaryDirectory() as folder:
            done = sluice("run", os.path.join(folder, "a\x1b[31m\r\n\x9b\u202eb"), "-p", "x")
            self.assertEqual(done.returncode, 1)
            self.assertIn(rb"a\x1b[31m\x0d\x0a\xc2\x9b\u202eb", done.stderr)
            self.assertEqual(done.stderr.count(b"\n"), 1)
            path = self.rewritten(folder, b"general.name", b"\x1b]0;x\x07\xff")
            named = sluice("info", path)
            self.assertEqual(named.returncode, 0, named.stderr)
            self.assertIn(rb"\x1b]0", named.stdout)
            foreign = self.rewritten(folder, b"general.architecture", b"\x1b[2J")
            for done in (sluice("info", foreign), sluice("run", foreign, "-p", "x")):
                self.assertIn(rb"\x1b[2J", done.stdout + done.stderr)
                self.assertNotIn(b"\x1b", done.stdout + done.stderr)

    def test_info_reads_the_header_once(self):
        def blocks(*arguments):
            script = "import subprocess, sys, resource; subprocess.run(sys.argv[1:], stdout=-3, check=True); " \
                     "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock)"
            return int(subprocess.run([sys.executable, "-c", script, SLUICE, *arguments], capture_output=True, check=True).stdout)
        # A copy, which no other test brings into the page cache meanwhile.
        with tempfile.TemporaryDirectory() as folder:
            model = shutil.copy(MODEL, folder)
            with open(model, "rb+") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            once = min(blocks("tokenize", model, "--text", "x") for _ in range(3))
            if once == 0:
                self.skipTest("the kernel does not count block reads here")
            # The tokenizer ends in the first of the two buffers that hold the header.
            self.assertLess(min(blocks("info", model) for _ in range(3)), 3 * once)

    def test_settings_that_contradict_the_tensors_are_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            for key, value in ((b"expert_feed_forward_length", 1), (b"expert_feed_forward_length", 128), (b"expert_count", 16),
                               (b"expert_count", 64), (b"block_count", 5), (b"block_count", 7), (b"embedding_length", 128)):
                path = self.patched(folder, b"qwen3moe." + key, value)
                self.expect(1, [], "run", path, "-p", "x", "-n", 1)
                self.assertEqual(sluice("info", path).returncode, 0)

    def test_the_model_is_never_the_output(self):
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder) / "copy.gguf"
            copy.write_bytes(pathlib.Path(MODEL).read_bytes())
            self.expect(1, ["copy.gguf"], "logits", str(copy), "--ids", "1,2", "--out", str(copy))
            self.assertEqual(copy.read_bytes(), pathlib.Path(MODEL).read_bytes())

    def test_a_failure_leaves_an_older_result_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "x.npy"
            out.write_bytes(b"older")
            self.expect(1, ["--ctx"], "logits", MODEL, "--ids", "1,2,3,4,5", "--ctx", 4, "--out", str(out))
            self.assertEqual(out.read_bytes(), b"older")
            self.assertEqual(os.listdir(folder), ["x.npy"])

    def test_a_kv_type_that_heads_do_not_suit_is_refused(self):
        # Heads of 16.
        self.expect(1, ["q8_0", "16"], "logits", str(ROOT / "tests/data/oracle/qwen2_moe"), "--kv", "q8_0", "--ids", "1", "--out", "/dev/null")

    def test_a_result_that_cannot_be_written_is_a_failure(self):
        for arguments in (["info", MODEL], ["info", MODEL, "--json"], ["run", MODEL, "-p", "Once", "-n", "5"], ["tokenize", MODEL, "--text", "x"]):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([SLUICE, *arguments], stdout=full, stderr=subprocess.PIPE, timeout=60)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertIn(b"standard output", done.stderr)

    def test_a_pipe_is_not_a_model(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "pipe")
            os.mkfifo(path)
            self.expect(1, ["pipe"], "run", path, "-p", "x")

    def test_a_directory_is_not_a_prompt(self):
        self.expect(1, ["/tmp"], "run", MODEL, "-f", "/tmp")

    def test_a_prompt_without_end_is_refused_within_the_budget(self):
        with open("/dev/zero", "rb") as zeros:  # not even a place to cut
            done = sluice("run", MODEL, "--ctx", 256, "--ram", min_ram("--ctx", 256), stdin=zeros)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"65536 bytes", done.stderr)
        with subprocess.Popen(["yes", "one two"], stdout=subprocess.PIPE) as endless:
            done = sluice("run", MODEL, "--ctx", 256, "--ram", min_ram("--ctx", 256), stdin=endless.stdout)
            endless.stdout.close()
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"--ctx", done.stderr)

    def test_interrupting_eval_keeps_what_was_scored(self):
        for json_wanted in (True, False):
            with self.endless_text() as text:
                process = subprocess.Popen([SLUICE, "eval", MODEL, "--text", text, "--ctx", "64", *["--json"] * json_wanted],
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                process.stderr.readline()  # the model is open
                time.sleep(1.5)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 130, err)
            if json_wanted:
                result = json.loads(out)
                self.assertIs(result["partial"], True)
                self.assertGreater(result["tokens"], 0)
                self.assertGreater(result["perplexity"], 1)
            else:
                self.assertIn(b"partial", out)
                self.assertIn(b"perplexity", out)

    @contextlib.contextmanager
    def endless_text(self):
        """A pipe that always has more of the story."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "text")
            os.mkfifo(path)
            writer = subprocess.Popen(["sh", "-c", 'while cat "$0"; do :; done > "$1"', STORY, path], stderr=subprocess.DEVNULL)
            try:
                yield path
            finally:
                writer.kill()
                writer.wait()

    def test_interrupting_a_wait_for_the_prompt_ends_it(self):
        process = subprocess.Popen([SLUICE, "run", MODEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stderr.readline()  # the model is open
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=30), 130)
        process.stdin.close()
        process.stdout.close()
        process.stderr.close()

    def test_interrupting_ends_cleanly(self):
        process = subprocess.Popen([SLUICE, "run", MODEL, "-p", "Once", "-n", "1000000", "--ctx-shift", "--ignore-eos"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.assertTrue(process.stdout.read(20))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, err)
        self.assertTrue(out.endswith(b"\n"))

    def test_a_reader_that_leaves_ends_the_command(self):
        process = subprocess.Popen([SLUICE, "run", MODEL, "-p", "Once", "-n", "1000000", "--ctx-shift", "--ignore-eos"], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        process.stdout.read(20)
        process.stdout.close()
        started = time.monotonic()
        process.wait(timeout=60)
        self.assertLess(time.monotonic() - started, 60)
        self.assertNotEqual(process.returncode, 0)


if __name__ == "__main__":
    unittest.main()
