"""`sluice calibrate --imatrix`: the gguf package reads the file as llama.cpp's importance matrix, its sums are those of a forward pass
that was written in numpy, and how the text was computed changes no bit of it."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import unittest

import gguf
import numpy as np

sys.dont_write_bytecode = True
from command import MODEL, SLUICE, STORY, Folder, min_ram, sluice, sluice_json  # noqa: E402

LAYERS, EXPERTS, TOP_K = 6, 32, 4
WINDOW = 128
MATRICES = ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")


class Reference:
    """Qwen3's mixture of experts in float64: attention with norms of each head's queries and keys, rotation of halves, a softmax over
    all experts whose best are made to add up to 1."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float64) for t in reader.tensors}
        value = lambda key: reader.fields[f"qwen3moe.{key}"].contents()  # noqa: E731
        self.heads, self.kv_heads = value("attention.head_count"), value("attention.head_count_kv")
        self.head_dim, self.base = value("attention.key_length"), value("rope.freq_base")
        self.epsilon = value("attention.layer_norm_rms_epsilon")

    def norm(self, x, weight):
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.epsilon) * weight

    def rotate(self, x):
        half = self.head_dim // 2
        angles = np.arange(len(x))[:, None] * self.base ** (-np.arange(half) / half)
        cosines, sines = np.cos(angles)[:, None], np.sin(angles)[:, None]
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cosines - b * sines, b * cosines + a * sines], axis=-1)

    def attention(self, x, of):
        rows = len(x)
        project = lambda name, heads: (x @ of(name).T).reshape(rows, heads, self.head_dim)  # noqa: E731
        q = self.rotate(self.norm(project("attn_q", self.heads), of("attn_q_norm")))
        k = self.rotate(self.norm(project("attn_k", self.kv_heads), of("attn_k_norm")))
        v = project("attn_v", self.kv_heads)
        k, v = (np.repeat(part, self.heads // self.kv_heads, axis=1) for part in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(self.head_dim)
        scores[:, np.triu(np.ones((rows, rows), bool), 1)] = -np.inf
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        return np.einsum("hqk,khd->qhd", shares, v).reshape(rows, -1) @ of("attn_output").T

    def add(self, ids, sums, counts):
        """Adds the squares of what the experts read of one window."""
        x = self.tensors["token_embd.weight"][ids]
        for layer in range(LAYERS):
            of = lambda name: self.tensors[f"blk.{layer}.{name}.weight"]  # noqa: B023, E731
            x = x + self.attention(self.norm(x, of("attn_norm")), of)
            read = self.norm(x, of("ffn_norm"))
            logits = read @ of("ffn_gate_inp").T
            chosen = np.argsort(-logits, axis=1)[:, :TOP_K]
            weights = np.exp(np.take_along_axis(logits, chosen, 1) - logits.max(1, keepdims=True))
            weights /= weights.sum(1, keepdims=True)
            out = np.zeros_like(x)
            for expert in range(EXPERTS):
                rows, ranks = np.nonzero(chosen == expert)
                gate, up, down = (of(name)[expert] for name in MATRICES)
                inputs = read[rows]
                gates = inputs @ gate.T
                hidden = gates / (1 + np.exp(-gates)) * (inputs @ up.T)
                out[rows] += weights[rows, ranks][:, None] * (hidden @ down.T)
                for name, seen in zip(MATRICES, (inputs, inputs, hidden)):
                    key = f"blk.{layer}.{name}.weight"
                    sums.setdefault(key, np.zeros((EXPERTS, seen.shape[1])))[expert] += (seen * seen).sum(0)
                    counts.setdefault(key, np.zeros(EXPERTS))[expert] += len(rows)
            x = x + out


class Imatrix(Folder):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "copy.gguf"
        shutil.copy(MODEL, self.model)
        self.out = self.folder / "importance.gguf"

    def collect(self, *arguments, out=None, tokens=400):
        return sluice_json("calibrate", self.model, "--text", STORY, "--fit", tokens, "--ctx", WINDOW, "--out", "", "--imatrix",
                           out or self.out, *arguments)

    def only(self, *names):
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), sorted(["copy.gguf", *names]))

    # What it holds.

    def test_it_is_what_a_forward_pass_in_numpy_finds(self):
        report = self.collect("--compute", "f32", "--kv", "f32")
        ids = json.loads(sluice("tokenize", MODEL, "--bos", "--file", STORY, "--json").stdout)[:400]
        sums, counts = {}, {}
        reference = Reference(MODEL)
        for first in range(0, len(ids), WINDOW):
            reference.add(ids[first:first + WINDOW], sums, counts)
        tensors = {t.name: t for t in gguf.GGUFReader(self.out).tensors}
        self.assertEqual(len(tensors), 2 * LAYERS * len(MATRICES))
        for name, right in sums.items():
            mine, seen = tensors[f"{name}.in_sum2"], tensors[f"{name}.counts"]
            self.assertEqual((mine.tensor_type, seen.tensor_type), (gguf.GGMLQuantizationType.F32,) * 2)
            self.assertEqual((list(mine.shape), list(seen.shape)), ([right.shape[1], EXPERTS], [1, EXPERTS]))
            np.testing.assert_array_equal(seen.data.ravel(), counts[name], name)
            for expert in range(EXPERTS):
                np.testing.assert_allclose(mine.data[expert], right[expert], rtol=1e-4, atol=1e-5 * right[expert].max(initial=0))
        self.assertEqual(sum(counts["blk.0.ffn_up_exps.weight"]), 400 * TOP_K)
        unseen = sum(int((counts[f"blk.{layer}.ffn_up_exps.weight"] == 0).sum()) for layer in range(LAYERS))
        self.assertEqual(report["imatrix"], {"file": str(self.out), "tokens": 400, "experts": LAYERS * EXPERTS, "unseen": unseen})

    def test_it_says_what_it_was_found_on(self):
        self.collect()
        fields = gguf.GGUFReader(self.out).fields
        self.assertEqual({key: fields[key].contents() for key in fields if not key.startswith("GGUF.")},
                         {"general.type": "imatrix", "imatrix.datasets": [STORY], "imatrix.chunk_count": 4, "imatrix.chunk_size": WINDOW})

    def test_how_the_text_is_computed_changes_no_bit(self):
        self.collect("--threads", 1)
        right = self.out.read_bytes()
        other = self.folder / "other"
        for arguments in (["--threads", 2, "--batch", 7], ["--policy", "lru", "--predict", "off"], ["--batch", 1]):
            self.collect(*arguments, out=other)
            self.assertEqual(other.read_bytes(), right, arguments)
        ram = next(ram for ram in range(min_ram("--ctx", WINDOW), 1 << 40, 64 << 10)
                   if sluice("calibrate", self.model, "--text", STORY, "--fit", 64, "--ctx", WINDOW, "--out", "", "--imatrix", other,
                             "--ram", ram).returncode == 0)
        done = sluice("calibrate", self.model, "--text", STORY, "--fit", 400, "--ctx", WINDOW, "--out", "", "--imatrix", other,
                      "--ram", ram, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreater(done.stderr.count(b"importances of"), 1, done.stderr)  # so little memory takes several readings
        self.assertLessEqual(json.loads(done.stdout)["memory"]["peak_rss"], ram)
        self.assertEqual(other.read_bytes(), right)

    # Beside the corrections.

    def test_corrections_are_written_too_unless_none_are_wanted(self):
        report = self.collect()
        self.only("importance.gguf")
        self.assertFalse({"file", "gates", "recall"} & set(report))
        alone = self.out.read_bytes()
        report = sluice_json("calibrate", self.model, "--text", STORY, "--fit", 400, "--test", 100, "--sensitivity", 0, "--ctx", WINDOW,
                             "--imatrix", self.out)
        self.only("importance.gguf", "copy.gguf.calibration")
        self.assertEqual((report["fitted_tokens"], report["imatrix"]["tokens"]), (400, 400))
        self.assertEqual(self.out.read_bytes(), alone)

    def test_people_are_told(self):
        done = sluice("calibrate", self.model, "--text", STORY, "--fit", 64, "--out", "", "--imatrix", self.out)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"{self.out}: importances of {LAYERS * EXPERTS} experts, found on 64 tokens", done.stdout.decode())

    # Its mistakes.

    def test_it_is_written_over_nothing_that_is_wanted(self):
        story = self.file("story", pathlib.Path(STORY).read_text()[:6000])
        both = self.folder / "both"
        for out, corrections, what in ((self.model, "", "the model itself"), (story, "", "what --text names"), (both, both, "corrections")):
            before = out.read_bytes() if out.exists() else None
            done = sluice("calibrate", self.model, "--text", story, "--out", corrections, "--imatrix", out)
            self.assertEqual((done.returncode, done.stdout), (1, b""), done.stderr)
            self.assertIn(what, done.stderr.decode())
            self.assertEqual(out.read_bytes() if out.exists() else None, before)

    def test_nothing_to_write_is_told(self):
        done = sluice("calibrate", self.model, "--text", STORY, "--out", "")
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"--imatrix", done.stderr)

    def test_a_place_that_cannot_be_written_to_is_told_before_the_work(self):
        done = sluice("calibrate", self.model, "--text", STORY, "--imatrix", self.folder / "nowhere" / "file")
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"nowhere", done.stderr)
        self.assertNotIn(b"tokens", done.stderr)
        self.only()

    def test_an_interrupted_one_leaves_no_file(self):
        text = self.file("text", pathlib.Path(STORY).read_text() * 40)
        process = subprocess.Popen([SLUICE, "calibrate", self.model, "--text", text, "--fit", "1000000", "--imatrix", self.out],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)
        deadline = time.monotonic() + 60
        while not self.out.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertNotEqual(process.returncode, 0, errors)
        self.only("text")


if __name__ == "__main__":
    unittest.main(verbosity=2)
