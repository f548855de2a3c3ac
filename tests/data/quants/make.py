#!/usr/bin/env python3
"""Writes blocks of every weight format and what the gguf package, or numpy where gguf does not decode them, makes
of them.

    make.py [FOLDER] [--seed N] [--random N]

For each format FOLDER gets NAME.blocks, the raw bytes, and NAME.floats, little-endian float32. The first blocks put
every half of EXTREMES, zeros and all-ones among them, into the format's scale fields; --random blocks of
random bytes follow. Without arguments it makes the files beside it, from which the extreme scales with all-zero
and all-one codes are left out to keep them small.
"""

import argparse
import pathlib

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

# Where a block keeps its float16 fields; MXFP4 keeps an exponent in byte 0 instead, IQ1_M a half in four nibbles.
HALVES = {
    "F32": [], "F16": [0], "BF16": [], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
    "MXFP4": [], "IQ1_S": [0], "IQ1_M": [], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0],
    "TQ1_0": [52], "TQ2_0": [64],
    "I8": [], "I16": [], "I32": [], "I64": [], "F64": [], "F8_E4M3": [],
}
NUMPY = {"I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "F64": "<f8"}
# ±0, least and greatest subnormals, least normal, 1, greatest, infinities, NaN.
EXTREMES = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00]
EXPONENTS = [0, 1, 2, 3, 126, 127, 128, 252, 253, 254, 255]


def extreme_blocks(name: str, size: int, rng: np.random.Generator, thorough: bool) -> np.ndarray:
    """Blocks whose scales are extreme; the rest is random, and if thorough also all zeros and all ones."""
    settings = []
    if name == "MXFP4":
        settings = [[(0, np.uint8(e))] for e in EXPONENTS]
    if name == "IQ1_M":
        settings = [[(49 + 2 * pair, np.uint8((half >> 4 * pair & 15) << 4 | rng.integers(0, 16))) for pair in range(4)]
                    for half in EXTREMES]
    for turn, half in enumerate(EXTREMES if HALVES[name] else []):
        # A second field runs through the list at another pace, so that the two do not stay alike.
        values = [half, EXTREMES[(5 * turn + 1) % len(EXTREMES)]]
        settings.append([(at, np.frombuffer(np.array(value, "<u2").tobytes(), np.uint8))
                         for at, value in zip(HALVES[name], values)])
    bodies = [lambda: rng.integers(0, 256, size, dtype=np.uint8)]
    if thorough:
        bodies += [lambda: np.zeros(size, np.uint8), lambda: np.full(size, 255, np.uint8)]
    blocks = [np.full(size, fill, np.uint8) for fill in (0, 255)]
    for body in bodies:
        for fields in settings:
            block = body()
            for at, value in fields:
                block[at:at + np.size(value)] = value
            blocks.append(block)
    return np.stack(blocks)


def f8_e4m3(codes: np.ndarray) -> np.ndarray:
    """In double precision, as the Open Compute Project defines it: bias 7, no infinities, all ones is NaN."""
    exponent, mantissa = (codes >> 3 & 15).astype(float), (codes & 7).astype(float)
    magnitude = np.where(exponent == 0, mantissa / 8 * 2.0 ** -6, (1 + mantissa / 8) * 2.0 ** (exponent - 7))
    magnitude[(codes & 127) == 127] = np.nan
    return np.where(codes & 128, -magnitude, magnitude)


def decode(name: str, blocks: np.ndarray) -> np.ndarray:
    if name == "F8_E4M3":
        return f8_e4m3(blocks)
    if name in NUMPY:
        return blocks.view(NUMPY[name])
    return dequantize(blocks, GGMLQuantizationType[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--random", type=int, default=0, help="blocks of random bytes of each format")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    for name in HALVES:
        elements, size = (1, 1) if name == "F8_E4M3" else GGML_QUANT_SIZES[GGMLQuantizationType[name]]
        random = options.random or {1: 64, 32: 16, 256: 4}[elements]
        blocks = np.concatenate([extreme_blocks(name, size, rng, thorough=options.random > 0),
                                 rng.integers(0, 256, (random, size), dtype=np.uint8)])
        with np.errstate(all="ignore"):
            floats = np.ascontiguousarray(decode(name, blocks), dtype=np.float32)
        assert floats.size == blocks.shape[0] * elements
        blocks.tofile(options.folder / f"{name}.blocks")
        floats.tofile(options.folder / f"{name}.floats")


if __name__ == "__main__":
    main()
