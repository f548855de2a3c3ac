"""From logits to the next token."""

import ctypes
from typing import Iterable

import numpy as np

from . import _library
from ._handle import Handle
from ._library import call, sized
from .session import as_tokens, token_pointer


class Sampler(Handle):
    """Repeat penalty, top-k, top-p, min-p and temperature, in this order; temperature 0 is greedy.

    The same options, logits and history give the same tokens on every machine.
    """

    def __init__(self, *, temperature: float = 0.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0,
                 repeat_penalty: float = 1.0, repeat_window: int = 64, seed: int = 0):
        handle = ctypes.c_void_p()
        call("sluice_sampler_create",
             sized(_library.SamplerOptions, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
                   repeat_penalty=repeat_penalty, repeat_window=repeat_window, seed=seed), handle)
        super().__init__("sampler", handle.value)

    def sample(self, logits: np.ndarray, history: Iterable[int] = ()) -> int:
        """`logits` [vocabulary]; `history`: the tokens so far, newest last."""
        values = np.ascontiguousarray(logits, np.float32).reshape(-1)
        before, token = as_tokens(history), ctypes.c_int32()
        call("sluice_sampler_sample", self._handle, values.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), len(values),
             token_pointer(before), len(before), token)
        return token.value
