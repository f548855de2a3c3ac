"""Random blocks of GGUF's weight formats, written directly: codes are random bytes, scales give the wanted deviation.

Every format is a row of FORMATS. `random(rng, blocks)` makes raw blocks `[blocks, block_bytes]` uint8 whose weights have
mean 0 and a standard deviation near 1; `rescale(raw, factor)` multiplies their scales in place; `decode(raw)` gives
float32 `[blocks, block_elements]` as the format defines it. Means are exactly 0 in expectation (codes that lean to one
side get scales of random sign): a small mean would be amplified from layer to layer.
"""

import dataclasses
from collections.abc import Callable

import numpy as np


def half_field(raw, start):
    """The float16 at byte `start` of each block, as a writable view [blocks]."""
    return raw[:, start:start + 2].view(np.float16)[:, 0]


def random_scales(rng, blocks, signed):
    """Block scales around 1: mean square 1, up to 30 % apart, of either sign if `signed`."""
    scales = rng.uniform(0.7, 1.3, blocks)
    scales /= np.sqrt(np.mean(scales**2))
    return scales * rng.choice([-1.0, 1.0], blocks) if signed else scales


def random_bytes(rng, blocks, count):
    return np.frombuffer(rng.bytes(blocks * count), np.uint8).reshape(blocks, count)


def rescale_halves(*starts):
    def rescale(raw, factor):
        for start in starts:
            field = half_field(raw, start)
            field[:] = (field.astype(np.float32) * factor).astype(np.float16)
    return rescale


def low_then_high(nibbles):
    """[blocks, n] bytes -> [blocks, 2 n] codes: all low halves, then all high halves."""
    return np.concatenate([nibbles & 15, nibbles >> 4], axis=1)


# --- F32, F16, BF16 ---

def random_f32(rng, blocks):
    return rng.standard_normal((blocks, 1), np.float32).view(np.uint8)


def rescale_f32(raw, factor):
    raw.view(np.float32)[:] *= factor


def random_f16(rng, blocks):
    return rng.standard_normal((blocks, 1), np.float32).astype(np.float16).view(np.uint8)


def to_bf16(values):
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def decode_bf16(raw):
    return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def rescale_bf16(raw, factor):
    raw.view(np.uint16)[:] = to_bf16(decode_bf16(raw) * np.float32(factor))


# --- Q4_0: half d; 16 bytes of nibbles. w = d (q - 8) ---

Q4_0_DEVIATION = float(np.sqrt(np.mean((np.arange(16) - 8.0)**2)))


def random_q4_0(rng, blocks):
    raw = np.empty((blocks, 18), np.uint8)
    half_field(raw, 0)[:] = random_scales(rng, blocks, signed=True) / Q4_0_DEVIATION
    raw[:, 2:] = random_bytes(rng, blocks, 16)
    return raw


def decode_q4_0(raw):
    return half_field(raw, 0).astype(np.float32)[:, None] * (low_then_high(raw[:, 2:]).astype(np.float32) - 8)


# --- Q8_0: half d; 32 signed bytes. w = d q ---

Q8_0_DEVIATION = float(np.sqrt(np.mean(np.arange(-128.0, 128.0)**2)))


def random_q8_0(rng, blocks):
    raw = np.empty((blocks, 34), np.uint8)
    half_field(raw, 0)[:] = random_scales(rng, blocks, signed=True) / Q8_0_DEVIATION
    raw[:, 2:] = random_bytes(rng, blocks, 32)
    return raw


def decode_q8_0(raw):
    return half_field(raw, 0).astype(np.float32)[:, None] * raw[:, 2:].view(np.int8).astype(np.float32)


# --- Q4_K: half d, half dmin; 12 bytes of eight 6-bit scales and eight 6-bit minimums; 128 bytes of nibbles.
# w = d scale q - dmin minimum. Minimum = scale and dmin = 7.5 d centre the codes. ---

Q4_K_DEVIATION = float(np.sqrt(np.mean((np.arange(16) - 7.5)**2)))


def random_q4_k(rng, blocks):
    scales = rng.integers(32, 64, (blocks, 8), dtype=np.uint8)
    raw = np.empty((blocks, 144), np.uint8)
    d = random_scales(rng, blocks, signed=True) / (Q4_K_DEVIATION * np.sqrt(np.mean(scales.astype(np.float64)**2)))
    half_field(raw, 0)[:] = d
    half_field(raw, 2)[:] = 7.5 * half_field(raw, 0).astype(np.float32)
    # Six-bit fields 0..3 lie whole in bytes 0..3 (scales) and 4..7 (minimums), 4..7 in nibbles of bytes 8..11 with
    # their two high bits on top of the former.
    raw[:, 4:8] = (scales[:, :4] & 63) | (scales[:, 4:] >> 4 << 6)
    raw[:, 8:12] = raw[:, 4:8]
    raw[:, 12:16] = (scales[:, 4:] & 15) | (scales[:, 4:] & 15) << 4
    raw[:, 16:] = random_bytes(rng, blocks, 128)
    return raw


def decode_q4_k(raw):
    packed = raw[:, 4:16]

    def six_bits(first, shift):
        low = packed[:, first:first + 4]
        return np.concatenate([low & 63, (packed[:, 8:12] >> shift & 15) | (low >> 6 << 4)], axis=1).astype(np.float32)

    d = half_field(raw, 0).astype(np.float32)[:, None] * six_bits(0, 0)
    minimum = half_field(raw, 2).astype(np.float32)[:, None] * six_bits(4, 4)
    nibbles = raw[:, 16:].reshape(-1, 4, 32)
    codes = np.stack([nibbles & 15, nibbles >> 4], axis=2).reshape(-1, 8, 32).astype(np.float32)
    return (d[:, :, None] * codes - minimum[:, :, None]).reshape(-1, 256)


# --- Q6_K: 128 bytes of low nibbles, 64 of high pairs, 16 signed scales, half d. w = d scale (q - 32) ---

Q6_K_DEVIATION = float(np.sqrt(np.mean((np.arange(64) - 32.0)**2)))


def random_q6_k(rng, blocks):
    raw = np.empty((blocks, 210), np.uint8)
    raw[:, :192] = random_bytes(rng, blocks, 192)
    scales = rng.integers(64, 128, (blocks, 16)) * rng.choice([-1, 1], (blocks, 16))
    raw[:, 192:208] = scales.astype(np.int8).view(np.uint8)
    deviation = Q6_K_DEVIATION * np.sqrt(np.mean(scales.astype(np.float64)**2))
    half_field(raw, 208)[:] = random_scales(rng, blocks, signed=True) / deviation
    return raw


def decode_q6_k(raw):
    low, high = raw[:, :128].reshape(-1, 2, 64), raw[:, 128:192].reshape(-1, 2, 1, 32)
    nibbles = np.stack([low & 15, low >> 4], axis=2).reshape(-1, 2, 4, 32)
    pairs = high >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3
    codes = (nibbles | pairs << 4).reshape(-1, 16, 16).astype(np.float32) - 32
    scales = half_field(raw, 208).astype(np.float32)[:, None] * raw[:, 192:208].view(np.int8).astype(np.float32)
    return (scales[:, :, None] * codes).reshape(-1, 256)


# --- MXFP4: one byte of exponent; 16 bytes of nibbles, each a float of 4 bits. w = 2^(exponent - 127) value ---

FP4_VALUES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def random_mxfp4(rng, blocks):
    raw = np.empty((blocks, 17), np.uint8)
    # Scales are powers of two: a mixture of two neighbours has mean square 1.
    exponent = np.log2(1 / np.sqrt(np.mean(FP4_VALUES**2)))
    below = np.floor(exponent)
    share_above = (4**(exponent - below) - 1) / 3
    raw[:, 0] = (127 + below + (rng.random(blocks) < share_above)).astype(np.uint8)
    raw[:, 1:] = random_bytes(rng, blocks, 16)
    return raw


def rescale_mxfp4(raw, factor):
    """By mixing again: a block gets one of the two powers of two around `factor`, so that the mean square is right."""
    power = np.log2(factor)
    below = np.floor(power)
    share_above = (4**(power - below) - 1) / 3
    spread = np.modf(np.arange(len(raw)) * 0.6180339887498949)[0]  # even, and the same each time
    raw[:, 0] = (raw[:, 0].astype(np.int32) + below + (spread < share_above)).astype(np.uint8)


def decode_mxfp4(raw):
    return np.exp2(raw[:, :1].astype(np.float32) - 127) * FP4_VALUES[low_then_high(raw[:, 1:])]


@dataclasses.dataclass(frozen=True)
class Format:
    name: str
    number: int  # in GGUF files
    file_type: int  # general.file_type of a file that is mostly this
    block_elements: int
    block_bytes: int
    random: Callable
    rescale: Callable
    decode: Callable

    def bytes(self, elements):
        return elements // self.block_elements * self.block_bytes


FORMATS = {row.name: row for row in (
    Format("f32", 0, 0, 1, 4, random_f32, rescale_f32, lambda raw: raw.view(np.float32)),
    Format("f16", 1, 1, 1, 2, random_f16, rescale_halves(0), lambda raw: raw.view(np.float16).astype(np.float32)),
    Format("bf16", 30, 32, 1, 2, lambda rng, n: to_bf16(rng.standard_normal((n, 1), np.float32)).view(np.uint8),
           rescale_bf16, decode_bf16),
    Format("q4_0", 2, 2, 32, 18, random_q4_0, rescale_halves(0), decode_q4_0),
    Format("q8_0", 8, 7, 32, 34, random_q8_0, rescale_halves(0), decode_q8_0),
    Format("q4_k", 12, 15, 256, 144, random_q4_k, rescale_halves(0, 2), decode_q4_k),
    Format("q6_k", 14, 18, 256, 210, random_q6_k, rescale_halves(208), decode_q6_k),
    Format("mxfp4", 39, 38, 32, 17, random_mxfp4, rescale_mxfp4, decode_mxfp4),
)}
