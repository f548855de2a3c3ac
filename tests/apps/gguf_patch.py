"""Where things are in a GGUF file, for tests that damage a copy of one. Standard library only."""

import pathlib
import struct

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
F32, Q8_0 = 0, 8
Q8_0_BYTES = 34  # a block of 32: a float16 scale, then the codes


class Gguf:
    """A file's bytes, which may be changed, and its tensors: name -> (dimensions, innermost first; type; offset in the bytes)."""

    def __init__(self, path):
        self.data = bytearray(pathlib.Path(path).read_bytes())
        self.tensors = {}
        count, settings = struct.unpack_from("<QQ", self.data, 8)
        at = 24
        for _ in range(settings):
            at = self.after_string(at)
            at = self.after_value(struct.unpack_from("<I", self.data, at)[0], at + 4)
        entries = []
        for _ in range(count):
            end = self.after_string(at)
            name = self.data[at + 8:end].decode()
            dimensions, = struct.unpack_from("<I", self.data, end)
            sizes = struct.unpack_from(f"<{dimensions}Q", self.data, end + 4)
            kind, offset = struct.unpack_from("<IQ", self.data, end + 4 + 8 * dimensions)
            entries.append((name, sizes, kind, offset))
            at = end + 4 + 8 * dimensions + 12
        start = (at + 31) // 32 * 32
        for name, sizes, kind, offset in entries:
            self.tensors[name] = (sizes, kind, start + offset)

    def after_string(self, at):
        return at + 8 + struct.unpack_from("<Q", self.data, at)[0]

    def after_value(self, kind, at):
        if kind == 8:
            return self.after_string(at)
        if kind != 9:
            return at + SIZES[kind]
        element, count = struct.unpack_from("<IQ", self.data, at)
        at += 12
        if element != 8:
            return at + count * SIZES[element]
        for _ in range(count):
            at = self.after_string(at)
        return at

    def rows(self, name):
        """(Number of rows, bytes of a row, offset of the first); experts one after the other."""
        sizes, kind, offset = self.tensors[name]
        row = {F32: 4 * sizes[0], Q8_0: sizes[0] // 32 * Q8_0_BYTES}[kind]
        rows = 1
        for size in sizes[1:]:
            rows *= size
        return rows, row, offset

    def row(self, name, index):
        _, size, offset = self.rows(name)
        return bytes(self.data[offset + index * size:offset + (index + 1) * size])

    def set_row(self, name, index, content):
        _, size, offset = self.rows(name)
        assert len(content) == size
        self.data[offset + index * size:offset + (index + 1) * size] = content

    def replace(self, old, new, count=1):
        """The first `count` of a text by another of the same length."""
        assert len(old) == len(new) and self.data.count(old) >= count, (old, new)
        self.data = self.data.replace(old, new, count)

    def write(self, path):
        pathlib.Path(path).write_bytes(self.data)
        return str(path)
