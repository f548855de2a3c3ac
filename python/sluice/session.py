"""One sequence of tokens and what the model keeps of it; and several that step together."""

import ctypes
import dataclasses
from typing import TYPE_CHECKING, Iterable, Iterator, Optional, Sequence, Union

import numpy as np

from . import _library
from ._handle import Handle
from ._interrupt import interruptible
from ._library import STOPS, SluiceError, call, error_of, library, sized

if TYPE_CHECKING:
    from .model import Model

_QUICK = 4  # tokens: a call with so few is soon over, and a thread of its own would cost more


def as_tokens(ids: Iterable[int]) -> np.ndarray:
    """int32 [n]."""
    tokens = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))
    if tokens.ndim != 1:
        raise ValueError(f"ids have {tokens.ndim} dimensions: one is wanted")
    if tokens.size and not np.issubdtype(tokens.dtype, np.integer):
        raise TypeError(f"ids are {tokens.dtype}, not integers")
    if tokens.size and (tokens.min() < -(1 << 31) or tokens.max() >= 1 << 31):
        raise ValueError("ids do not fit 32 bits")
    return np.ascontiguousarray(tokens, dtype=np.int32)


def token_pointer(tokens: np.ndarray):
    return tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))


def _float_pointer(values: np.ndarray):
    return values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


@dataclasses.dataclass(frozen=True)
class SessionStats:
    evaluated: int  # tokens computed
    calls: int  # that computed them
    seconds: float  # of these
    decoded: int  # tokens that were computed one at a time
    decode_seconds: float


@dataclasses.dataclass(frozen=True)
class Piece:
    """One step of a text that is being written."""

    token: Optional[int]  # None: none was added, the text ended
    text: str  # whole characters that became certain, maybe none
    stop: str  # why it ended: "end", "stop", "max_tokens", "context"; "" while it goes on


class Session(Handle):
    """Made by Model.session. For one thread at a time; `abort` is for any."""

    def __init__(self, model: "Model", ctx: int = 0):
        handle = ctypes.c_void_p()
        call("sluice_session_create", model._handle, sized(_library.SessionOptions, context=ctx), handle)
        super().__init__("session", handle.value)
        self.model = model

    def __len__(self) -> int:
        """Tokens so far."""
        return library.sluice_session_length(self._handle)

    def _compute(self, count: int, name: str, *arguments) -> None:
        handle = self._handle
        if count <= _QUICK:
            call(name, handle, *arguments)
        else:
            interruptible(handle, lambda: call(name, handle, *arguments))

    def forward(self, ids: Iterable[int]) -> np.ndarray:
        """Appends ids; the logits of all of them, float32 [n, vocabulary]. After an error the session is as it was."""
        tokens = as_tokens(ids)
        logits = np.empty((len(tokens), self.model.vocabulary), np.float32)
        if len(tokens):
            self._compute(len(tokens), "sluice_session_forward", token_pointer(tokens), len(tokens),
                          _float_pointer(logits))
        return logits

    def eval(self, ids: Iterable[int]) -> np.ndarray:
        """Appends ids, one at least; the logits of the last one, float32 [vocabulary]."""
        tokens = as_tokens(ids)
        last = ctypes.POINTER(ctypes.c_float)()
        self._compute(len(tokens), "sluice_session_eval", token_pointer(tokens), len(tokens), ctypes.byref(last))
        return np.ctypeslib.as_array(last, (self.model.vocabulary,)).copy()

    def truncate(self, length: int) -> None:
        """Forgets all but the first `length` tokens."""
        call("sluice_session_truncate", self._handle, length)

    def keep_prefix(self, ids: Iterable[int]) -> int:
        """Forgets all but what `ids` begins with, too, less its last: so many are left, and ids[left:] is what is to be
        computed."""
        tokens, kept = as_tokens(ids), ctypes.c_size_t()
        call("sluice_session_keep_prefix", self._handle, token_pointer(tokens), len(tokens), kept)
        return kept.value

    def abort(self) -> None:
        """Whatever it computes now, on another thread, stops with SluiceError of status "cancelled"; if it computes
        nothing, the next thing does."""
        library.sluice_session_abort(self._handle)

    def stats(self) -> SessionStats:
        asked = sized(_library.SessionStats)
        call("sluice_session_get_stats", self._handle, asked)
        return SessionStats(**{field.name: getattr(asked, field.name) for field in dataclasses.fields(SessionStats)})

    def write(self, prompt: Union[str, Iterable[int]], max_tokens: int = 256, *, temperature: float = 0.0,
              top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0, repeat_penalty: float = 1.0,
              repeat_window: int = 64, seed: int = 0, stop: Union[str, Sequence[str]] = (), ignore_end: bool = False,
              own_text: bool = False) -> Iterator[Piece]:
        """Appends the prompt, a text or ids, and continues it; the last piece says why it ended. Nothing is computed
        before the first piece is asked for, nor after the last that is."""
        if max_tokens < 1:
            raise ValueError("max_tokens is below 1")
        fresh = len(self) == 0
        tokens = as_tokens(self.model.tokenize(prompt, add_special=fresh) if isinstance(prompt, str) else prompt)
        stops = [text.encode() for text in ([stop] if isinstance(stop, str) else stop)]
        options = sized(_library.WriterOptions, max_tokens=max_tokens, ignore_end=int(ignore_end),
                        stop=(ctypes.c_char_p * len(stops))(*stops), stop_count=len(stops), own_text=int(own_text))
        options.sampling = sized(_library.SamplerOptions, temperature=temperature, top_k=top_k, top_p=top_p,
                                 min_p=min_p, repeat_penalty=repeat_penalty, repeat_window=repeat_window, seed=seed)
        handle = ctypes.c_void_p()
        call("sluice_writer_create", self._handle, token_pointer(tokens), len(tokens), options, handle)
        return self._pieces(Handle("writer", handle.value), len(tokens))

    def _pieces(self, writer: Handle, first: int) -> Iterator[Piece]:
        with writer:
            piece, count = sized(_library.Piece), first
            while piece.stop == 0:
                if count <= _QUICK:
                    call("sluice_writer_next", writer._handle, piece)
                else:
                    interruptible(self._handle, lambda: call("sluice_writer_next", writer._handle, piece))
                count = 1
                text = ctypes.string_at(piece.text, piece.length).decode() if piece.length else ""
                yield Piece(None if piece.token < 0 else piece.token, text, STOPS[piece.stop])

    def generate(self, prompt: Union[str, Iterable[int]], max_tokens: int = 256, **options) -> Iterator[str]:
        """The texts of `write`, which has the same options: whole characters, as they become certain."""
        for piece in self.write(prompt, max_tokens, **options):
            if piece.text:
                yield piece.text


def step(sessions: Sequence[Session], ids: Sequence[Iterable[int]]) -> list[Union[np.ndarray, SluiceError]]:
    """Sessions of one model, each once, append tokens in the same passes: experts that several want are read and
    multiplied once. Of each the logits of its last token, float32 [vocabulary], the same as it would get alone; or the
    error that it would have had."""
    if len(sessions) != len(ids):
        raise ValueError(f"{len(sessions)} sessions and {len(ids)} lists of ids")
    tokens = [as_tokens(each) for each in ids]
    logits = [np.empty(session.model.vocabulary, np.float32) for session in sessions]
    errors = (_library.Error * len(sessions))()
    items = (_library.BatchItem * len(sessions))()
    for item, session, each, row, error in zip(items, sessions, tokens, logits, errors):
        item.session, item.tokens, item.count = session._handle, token_pointer(each), len(each)
        item.logits, item.error = _float_pointer(row), ctypes.pointer(error)
    call("sluice_batch_eval", items, len(items), ctypes.sizeof(_library.BatchItem))
    return [row if item.status == 0 else error_of(error) for item, row, error in zip(items, logits, errors)]
