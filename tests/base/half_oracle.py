#!/usr/bin/env python3
"""half_oracle.py FLOATS HALVES BF16S: rounds float32 values to float16 (numpy) and bfloat16 (the gguf package)."""

import sys

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import quantize

floats = np.fromfile(sys.argv[1], "<f4")
with np.errstate(all="ignore"):
    floats.astype("<f2").tofile(sys.argv[2])
    quantize(floats, GGMLQuantizationType.BF16).tofile(sys.argv[3])
