"""Writes GGUF v3: header, metadata, tensor table, then the tensors' bytes in one sequential pass."""

import dataclasses
import struct

ALIGNMENT = 32
WRITE_BYTES = 8 << 20

UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


@dataclasses.dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple  # outermost first
    number: int  # of the format
    size: int  # bytes


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(content):
    if isinstance(content, str):
        return struct.pack("<I", STRING) + string(content)
    if isinstance(content, bool):
        return struct.pack("<I?", BOOL, content)
    if isinstance(content, list):
        return struct.pack(f"<IIQ{len(content)}i", ARRAY, INT32, len(content), *content)
    if isinstance(content, float):
        return struct.pack("<If", FLOAT32, content)
    return struct.pack("<II", UINT32, content)


def padded(size):
    return -(-size // ALIGNMENT) * ALIGNMENT


def header(metadata, tensors):
    parts = [struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))]
    parts += [string(key) + value(content) for key, content in metadata.items()]
    offset = 0
    for tensor in tensors:
        dimensions = tuple(reversed(tensor.shape))  # innermost first
        parts.append(string(tensor.name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions,
                                                       tensor.number, offset))
        offset += padded(tensor.size)
    head = b"".join(parts)
    return head + bytes(padded(len(head)) - len(head))


def write(path, metadata, tensors, content):
    """`content(tensor)` yields the tensor's bytes in pieces. Returns the file's size in bytes."""
    with open(path, "wb", buffering=WRITE_BYTES) as file:
        file.write(header(metadata, tensors))
        for tensor in tensors:
            written = sum(file.write(piece) for piece in content(tensor))
            if written != tensor.size:
                raise AssertionError(f"{tensor.name}: {written} bytes written, {tensor.size} announced")
            file.write(bytes(padded(written) - written))
        return file.tell()
