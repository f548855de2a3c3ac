"""Random weights of any size from a few megabytes of random blocks.

A matrix is a run of blocks that starts anywhere in the pool and goes round. The pool's length is a prime number of
blocks, so rows of a long matrix, and matrices, meet the same blocks only shifted: no two rows are alike.
"""

import numpy as np

POOL_BYTES = 8 << 20
CHUNK_BYTES = 8 << 20


def next_prime(number):
    def is_prime(n):
        return n > 1 and all(n % divisor for divisor in range(2, int(n**0.5) + 1))
    while not is_prime(number):
        number += 1
    return number


class Pool:
    """Blocks of one format with weights of mean 0 and standard deviation 1."""

    def __init__(self, weight_format, rng):
        self.format = weight_format
        self.blocks = next_prime(POOL_BYTES // weight_format.block_bytes)
        self._unit = weight_format.random(rng, self.blocks)
        self._scaled = {}

    def scaled(self, deviation):
        """Raw blocks [blocks, block_bytes] with this standard deviation."""
        if deviation not in self._scaled:
            raw = self._unit.copy()
            self.format.rescale(raw, deviation)
            self._scaled = {deviation: raw}  # a layer's matrices follow one another: one is enough
        return self._scaled[deviation]


class Matrix:
    """`rows` x `columns` of a pool's blocks from block `start` on, or `experts` of them one after the other, each with a
    start of its own. `common`, if given, are raw blocks that every row begins with."""

    def __init__(self, pool, deviation, starts, rows, columns, common=None):
        self._pool, self._deviation, self._starts, self._common = pool, deviation, starts, common
        self.rows, self.columns = rows, columns
        self.row_blocks = columns // pool.format.block_elements
        self.size = len(starts) * rows * self.row_blocks * pool.format.block_bytes

    def decode_rows(self, indices, expert=0):
        """float32 [len(indices), columns]."""
        raw = self._pool.scaled(self._deviation)
        blocks = self._starts[expert] + np.asarray(indices)[:, None] * self.row_blocks + np.arange(self.row_blocks)
        picked = raw[blocks % self._pool.blocks]
        if self._common is not None:
            picked[:, :len(self._common)] = self._common
        decoded = self._pool.format.decode(picked.reshape(-1, self._pool.format.block_bytes))
        return decoded.reshape(len(indices), self.columns)

    def pieces(self):
        """The bytes in file order."""
        if self._common is not None:
            yield from self._pieces_with_common()
            return
        flat = self._pool.scaled(self._deviation).reshape(-1)
        for start in self._starts:
            position, left = start * self._pool.format.block_bytes, self.size // len(self._starts)
            while left:
                piece = flat[position:position + left]
                yield memoryview(piece)
                left -= len(piece)
                position = 0

    def _pieces_with_common(self):
        raw = self._pool.scaled(self._deviation)
        chunk = max(1, CHUNK_BYTES // (self.row_blocks * self._pool.format.block_bytes))
        for start in self._starts:
            for first in range(0, self.rows, chunk):
                rows = min(chunk, self.rows - first)
                blocks = start + first * self.row_blocks + np.arange(rows * self.row_blocks)
                piece = raw[blocks % self._pool.blocks].reshape(rows, self.row_blocks, -1)
                piece[:, :len(self._common)] = self._common
                yield memoryview(piece.reshape(-1))
