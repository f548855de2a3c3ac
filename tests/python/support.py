"""What the tests beside this file share."""

import os
import pathlib
import sys

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = str(ROOT / "models" / "tales.gguf")
SLUICE = os.environ["SLUICE_BINARY"]
sys.path.insert(0, str(ROOT / "python"))

import sluice  # noqa: E402  (SLUICE_LIBRARY says which)


def opened(ram="256M", threads=1, context=256, **options):
    return sluice.Model(MODEL, sluice.Runtime(ram=ram, threads=threads), context=context, **options)


def some_tokens(count, seed=1, vocabulary=4000):
    tokens, state = [], seed
    for _ in range(count):
        state = (state * 1664525 + 1013904223) % (1 << 32)
        tokens.append((state >> 8) % vocabulary)
    return tokens


def test_data(name):
    """A path in the whole data set, or in the bundled part of it; None: it is in neither."""
    for root in filter(None, (os.environ.get("SLUICE_TEST_DATA"), ROOT / "tests/data")):
        path = pathlib.Path(root) / name
        if path.exists():
            return path
    return None
