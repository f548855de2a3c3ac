"""The C library (sluice.h) as ctypes sees it: where it is, its structs and its calls."""

import ctypes
import os
import pathlib
from ctypes import CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_double, c_float, c_int, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

ENDS_WITH_ZERO = c_size_t(-1).value
ADD_SPECIAL, PARSE_SPECIAL = 1, 2
STOPS = ("", "end", "stop", "max_tokens", "context")  # SLUICE_STOP_…
Progress = CFUNCTYPE(c_int, c_void_p, c_double)


class Error(Structure):
    _fields_ = [("code", c_int32), ("message", c_char * 1020)]


class RuntimeOptions(Structure):
    _fields_ = [("size", c_size_t), ("ram", c_uint64), ("vram", c_uint64), ("threads", c_uint32),
                ("reserved", c_uint32), ("reader", c_char_p), ("machine_costs", c_char_p)]


class ModelOptions(Structure):
    _fields_ = [("size", c_size_t), ("ram", c_uint64), ("context", c_uint32), ("sessions", c_uint32), ("kv", c_char_p),
                ("compute", c_char_p), ("policy", c_char_p), ("predict", c_char_p), ("calibration", c_char_p),
                ("width", c_char_p), ("max_rows", c_uint32), ("skip", c_float), ("prefer_resident", c_float),
                ("reserved", c_uint32), ("progress", Progress), ("progress_data", c_void_p)]


class ModelInfo(Structure):
    _fields_ = [("size", c_size_t), ("vocabulary", c_uint32), ("context", c_uint32), ("layers", c_uint32),
                ("hidden", c_uint32), ("experts", c_uint32), ("experts_used", c_uint32), ("max_rows", c_uint32),
                ("has_tokenizer", c_uint32), ("ram", c_uint64), ("dense_bytes", c_uint64), ("kv_bytes", c_uint64),
                ("scratch_bytes", c_uint64), ("cache_bytes", c_uint64), ("expert_bytes", c_uint64)]


class ModelStats(Structure):
    _fields_ = [("size", c_size_t), ("expert_requests", c_uint64), ("expert_hits", c_uint64),
                ("expert_loads", c_uint64), ("expert_bytes_read", c_uint64), ("expert_wait_seconds", c_double),
                ("gpu_experts", c_uint64)]


class SessionOptions(Structure):
    _fields_ = [("size", c_size_t), ("context", c_uint32), ("reserved", c_uint32)]


class SessionStats(Structure):
    _fields_ = [("size", c_size_t), ("evaluated", c_uint64), ("calls", c_uint64), ("seconds", c_double),
                ("decoded", c_uint64), ("decode_seconds", c_double)]


class BatchItem(Structure):
    _fields_ = [("session", c_void_p), ("tokens", POINTER(c_int32)), ("count", c_size_t), ("logits", POINTER(c_float)),
                ("all_logits", c_int32), ("status", c_int32), ("error", POINTER(Error))]


class SamplerOptions(Structure):
    _fields_ = [("size", c_size_t), ("temperature", c_float), ("top_k", c_uint32), ("top_p", c_float),
                ("min_p", c_float), ("repeat_penalty", c_float), ("repeat_window", c_uint32), ("seed", c_uint64)]


class WriterOptions(Structure):
    _fields_ = [("size", c_size_t), ("sampling", SamplerOptions), ("max_tokens", c_uint32), ("ignore_end", c_uint32),
                ("stop", POINTER(c_char_p)), ("stop_count", c_size_t), ("own_text", c_uint32), ("reserved", c_uint32)]


class Piece(Structure):
    _fields_ = [("size", c_size_t), ("token", c_int32), ("stop", c_int32), ("text", c_char_p), ("length", c_size_t)]


# Without the last argument, a pointer to an Error, which `call` adds.
_CALLS = {
    "sluice_runtime_create": [POINTER(RuntimeOptions), POINTER(c_void_p)],
    "sluice_model_open": [c_void_p, c_char_p, POINTER(ModelOptions), POINTER(c_void_p)],
    "sluice_model_get_info": [c_void_p, POINTER(ModelInfo)],
    "sluice_model_get_stats": [c_void_p, POINTER(ModelStats)],
    "sluice_tokenize": [c_void_p, c_char_p, c_size_t, c_int32, POINTER(c_int32), c_size_t, POINTER(c_size_t)],
    "sluice_detokenize": [c_void_p, POINTER(c_int32), c_size_t, c_int32, c_char_p, c_size_t, POINTER(c_size_t)],
    "sluice_render_chat": [c_void_p, c_char_p, c_size_t, c_char_p, c_char_p, c_size_t, POINTER(c_size_t)],
    "sluice_session_create": [c_void_p, POINTER(SessionOptions), POINTER(c_void_p)],
    "sluice_session_eval": [c_void_p, POINTER(c_int32), c_size_t, POINTER(POINTER(c_float))],
    "sluice_session_forward": [c_void_p, POINTER(c_int32), c_size_t, POINTER(c_float)],
    "sluice_session_truncate": [c_void_p, c_size_t],
    "sluice_session_keep_prefix": [c_void_p, POINTER(c_int32), c_size_t, POINTER(c_size_t)],
    "sluice_session_get_stats": [c_void_p, POINTER(SessionStats)],
    "sluice_batch_eval": [POINTER(BatchItem), c_size_t, c_size_t],
    "sluice_sampler_create": [POINTER(SamplerOptions), POINTER(c_void_p)],
    "sluice_sampler_sample": [c_void_p, POINTER(c_float), c_size_t, POINTER(c_int32), c_size_t, POINTER(c_int32)],
    "sluice_writer_create": [c_void_p, POINTER(c_int32), c_size_t, POINTER(WriterOptions), POINTER(c_void_p)],
    "sluice_writer_next": [c_void_p, POINTER(Piece)],
}
_OTHERS = {
    "sluice_version": (c_char_p, []),
    "sluice_status_name": (c_char_p, [c_int32]),
    "sluice_token_ends": (c_int32, [c_void_p, c_int32]),
    "sluice_session_length": (c_size_t, [c_void_p]),
    "sluice_session_abort": (None, [c_void_p]),
    "sluice_session_forget_abort": (None, [c_void_p]),
    "sluice_runtime_destroy": (None, [c_void_p]),
    "sluice_model_destroy": (None, [c_void_p]),
    "sluice_session_destroy": (None, [c_void_p]),
    "sluice_sampler_destroy": (None, [c_void_p]),
    "sluice_writer_destroy": (None, [c_void_p]),
}


class SluiceError(Exception):
    """What the library refused or failed at: the message says what, why and, where there is one, the remedy.

    `status` is its kind: "budget", "not found", "cancelled" …
    """

    def __init__(self, message: str, status: str):
        super().__init__(message)
        self.status = status


def _load() -> ctypes.CDLL:
    beside = sorted((pathlib.Path(__file__).parent / "lib").glob("libsluice.so*"))
    path = os.environ.get("SLUICE_LIBRARY") or (str(beside[0]) if beside else "libsluice.so.0")
    try:
        loaded = ctypes.CDLL(path)  # which gives the GIL away for as long as a call takes
    except OSError as error:
        raise ImportError(f"{error}: SLUICE_LIBRARY may name the library, libsluice.so") from error
    for name, arguments in _CALLS.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = c_int32, [*arguments, POINTER(Error)]
    for name, (result, arguments) in _OTHERS.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


library = _load()


def error_of(error: Error) -> SluiceError:
    return SluiceError(error.message.decode("utf-8", "replace"), library.sluice_status_name(error.code).decode())


def call(name: str, *arguments) -> None:
    """Raises SluiceError where the call fails."""
    error = Error()
    if getattr(library, name)(*arguments, ctypes.byref(error)) != 0:
        raise error_of(error)


def sized(struct, **fields):
    """One of the structs that begin with their own size."""
    return struct(size=ctypes.sizeof(struct), **fields)


def text_of(ask) -> bytes:
    """What ask(buffer, capacity, length) writes, however long that is."""
    length = c_size_t()
    capacity = 1024
    while True:
        buffer = ctypes.create_string_buffer(capacity)
        ask(buffer, capacity, ctypes.byref(length))
        if length.value <= capacity:
            return buffer.raw[:length.value]
        capacity = length.value
