"""scripts/make_bench_model writes files that the gguf package reads as meant, with routing as promised."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import gguf
import numpy as np

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
sys.dont_write_bytecode = True
sys.path.insert(0, str(SCRIPTS))
from bench_model.formats import FORMATS  # noqa: E402
from bench_model.mixers import GatedDeltaNet, GroupedAttention, LatentAttention  # noqa: E402
from bench_model.model import BenchModel  # noqa: E402
from bench_model.routing import Design  # noqa: E402
from bench_model.shapes import SHAPES  # noqa: E402


def make(path, *options):
    done = subprocess.run([sys.executable, SCRIPTS / "make_bench_model", path, "--shape", "small", "--json", *options],
                          stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def shrunk(shape):
    """The same in every respect but size."""
    def smaller(mixer):
        sizes = {GroupedAttention: {"heads": 4, "kv_heads": 2, "head_dim": 64, "rotary_dim": 32 if mixer.rotary_dim else 0},
                 LatentAttention: {"heads": 4, "q_rank": 64, "kv_rank": 64, "plain_dim": 32, "rotary_dim": 32, "value_dim": 32},
                 GatedDeltaNet: {"key_heads": 2, "value_heads": 4, "head_dim": 32}}
        return dataclasses.replace(mixer, **sizes[type(mixer)])

    metadata = tuple((key, [4, 6, 6, 0] if key == "rope.dimension_sections" else value) for key, value in shape.metadata)
    return dataclasses.replace(
        shape, layers=4, hidden=256, vocab=512, experts=16, top_k=2, expert_ffn=64, context=512, metadata=metadata,
        attention=smaller(shape.attention), delta_net=GatedDeltaNet(2, 4, 32, 4) if shape.delta_net else None,
        shared_ffn=64 if shape.shared_ffn else 0, dense_ffn=128 if shape.dense_layers else 0)


def dequantised(tensor):
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type)


class MakeBenchModelTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "small.gguf"

    def test_decoders_agree_with_the_gguf_package(self):
        rng = np.random.default_rng(5)
        for row in FORMATS.values():
            for factor in (1.0, 0.02):
                raw = row.random(rng, 65536 // row.block_elements)
                row.rescale(raw, factor)
                kind = gguf.GGMLQuantizationType(row.number)
                expected = (raw.view(np.float32) if row.name == "f32" else gguf.quants.dequantize(raw.reshape(-1), kind))
                decoded = row.decode(raw)
                np.testing.assert_array_equal(decoded.reshape(-1), expected.reshape(-1), row.name)
                self.assertAlmostEqual(1, np.std(decoded) / factor, delta=0.02, msg=row.name)
                self.assertAlmostEqual(0, np.mean(decoded) / factor, delta=0.02, msg=row.name)

    def test_every_tensor_is_finite_and_of_the_announced_size(self):
        for name, row in FORMATS.items():
            made = make(self.path, "--type", name, "--layers", "1", "--tokens", "32")
            self.assertEqual(self.path.stat().st_size, made["bytes"])
            reader = gguf.GGUFReader(self.path)
            kinds = {tensor.name: tensor.tensor_type for tensor in reader.tensors}
            self.assertEqual(row.number, kinds["blk.0.ffn_down_exps.weight"], name)
            for tensor in reader.tensors:
                values = dequantised(tensor)
                self.assertTrue(np.isfinite(values).all(), f"{name} {tensor.name}")
                self.assertEqual(tuple(reversed(tensor.shape.tolist())), values.shape)
                # An embedding is of size 1 and a projection keeps its input's size, or makes it smaller.
                size = np.sqrt(np.mean(values.astype(np.float64)**2)) * (
                    1 if "embd" in tensor.name or "norm" in tensor.name else values.shape[-1]**0.5)
                self.assertTrue(0.02 < size < 3, f"{name} {tensor.name}: {size}")

    def test_every_shape_is_read_and_keeps_its_stream(self):
        for shape in map(shrunk, SHAPES.values()):
            design = Design.find(shape, 0.4, 0.85, np.random.default_rng(1))
            model = BenchModel(shape, FORMATS["mxfp4"], FORMATS["q8_0"], design, 1)
            self.assertEqual(model.write(self.path), self.path.stat().st_size)
            for tensor in gguf.GGUFReader(self.path).tensors:
                self.assertTrue(np.isfinite(dequantised(tensor)).all(), f"{shape.name} {tensor.name}")
            figures = model.simulate(128)
            # As random steps of its design add up, were the weights what they should be.
            self.assertAlmostEqual(design.growth(shape.layers), figures.stream[1] / figures.stream[0], delta=0.1)
            if "SLUICE_BINARY" not in os.environ:
                continue
            done = subprocess.run([os.environ["SLUICE_BINARY"], "bench", self.path, "-p", "9", "-n", "3", "-r", "1", "--json",
                                   "--no-ceilings"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual(0, done.returncode, f"{shape.name}: {done.stderr}")
            self.assertGreater(json.loads(done.stdout)["decode"]["experts"]["requests"], 0)

    def test_experts_and_rows_differ(self):
        make(self.path, "--layers", "1", "--tokens", "32")
        tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(self.path).tensors}
        gate = dequantised(tensors["blk.0.ffn_gate_exps.weight"])
        rows = gate.reshape(-1, gate.shape[-1])
        self.assertEqual(len(rows), len(np.unique(rows, axis=0)))

    def test_routing_is_as_promised(self):
        uniform = make(self.path, "--routing", "uniform")
        self.assertAlmostEqual(4 / 16, uniform["overlap"], delta=0.03)
        for hits, least, most in ((uniform["lru_hits"]["50%"], 0.35, 0.55), (uniform["foresight"], 0.8, 0.9)):
            self.assertTrue(least <= hits <= most, uniform)
        skewed = make(self.path, "--routing", "skewed", "--overlap", "0.5")
        self.assertAlmostEqual(0.5, skewed["overlap"], delta=0.1)
        self.assertGreater(skewed["lru_hits"]["50%"], uniform["lru_hits"]["50%"] + 0.1)
        self.assertTrue(0.78 <= skewed["foresight"] <= 0.92, skewed)

    def test_a_single_layer_has_no_foresight_and_its_json_is_json(self):
        def no_number(name):
            self.fail(f"{name} is not JSON")
        done = subprocess.run([sys.executable, SCRIPTS / "make_bench_model", self.path, "--shape", "small", "--layers", "1", "--tokens",
                               "32", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
        self.assertIsNone(json.loads(done.stdout, parse_constant=no_number)["foresight"])
        self.assertEqual(b"", done.stderr)

    def test_what_cannot_be_is_refused_in_a_line(self):
        for status, words, path, *options in ((2, "--overlap 2.0", self.path, "--overlap", "2"),
                                              (2, "--overlap nan", self.path, "--overlap", "nan"),
                                              (2, "--foresight 1.5", self.path, "--foresight", "1.5"),
                                              (2, "--seed", self.path, "--seed", "-1"),
                                              (1, "/nowhere/x.gguf", "/nowhere/x.gguf")):
            done = subprocess.run([sys.executable, SCRIPTS / "make_bench_model", path, "--shape", "small", "--layers", "1", *options],
                                  stderr=subprocess.PIPE, text=True)
            self.assertEqual(status, done.returncode, done.stderr)
            self.assertIn(words, done.stderr)
            self.assertNotIn("Traceback", done.stderr)
            self.assertFalse(self.path.exists())

    def test_a_type_that_does_not_fit_is_refused(self):
        done = subprocess.run([sys.executable, SCRIPTS / "make_bench_model", self.path, "--shape", "gpt-oss", "--type",
                               "q4_k"], stderr=subprocess.PIPE, text=True)
        self.assertEqual(2, done.returncode)
        self.assertIn("do not divide a row of 2880", done.stderr)


if __name__ == "__main__":
    unittest.main()
