"""Processors, disk reader and memory budget."""

import ctypes
import re
from typing import Optional, Union

from ._handle import Handle
from ._library import RuntimeOptions, call, sized

Size = Union[int, str]  # bytes, or as the command line reads them: "512M", "1.5G"

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(size: Size) -> int:
    """Bytes of "512M", "1.5G", "96MiB" or a number."""
    if isinstance(size, int):
        if size < 0:
            raise ValueError(f"a size of {size} bytes")
        return size
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", size, re.IGNORECASE)
    if found is None:
        raise ValueError(f"no size: {size!r}; it reads like 512M or 1.5G")
    return int(float(found[1]) * _UNITS[found[2].lower()])


class Runtime(Handle):
    """What models are opened with, and share the budget of.

    ram: bytes for all that Sluice allocates (None: what is free now, less a margin).
    vram: bytes of each GPU's memory, at most; 0: no GPU is used.
    threads: that compute (None: as many processors as the process may use).
    reader: "auto", "uring" or "pread": how experts are read.
    machine_costs: a file that keeps what experts take on this machine's processors.
    """

    def __init__(self, ram: Optional[Size] = None, vram: Size = 0, threads: Optional[int] = None, *,
                 reader: str = "auto", machine_costs: Optional[str] = None):
        options = sized(RuntimeOptions, ram=parse_size(ram or 0), vram=parse_size(vram), threads=threads or 0,
                        reader=reader.encode(), machine_costs=machine_costs.encode() if machine_costs else None)
        handle = ctypes.c_void_p()
        call("sluice_runtime_create", options, handle)
        super().__init__("runtime", handle.value)
