"""An opened checkpoint."""

import ctypes
import dataclasses
import json
import os
from typing import Any, Callable, Iterable, Mapping, Optional, Sequence, Union

from . import _library
from ._handle import Handle
from ._library import ADD_SPECIAL, PARSE_SPECIAL, Progress, SluiceError, call, library, sized, text_of
from .runtime import Runtime, Size, parse_size
from .session import Session, as_tokens, token_pointer


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """Of an opened model; bytes as its memory plan has them."""

    vocabulary: int
    context: int
    layers: int
    hidden: int
    experts: int  # of a layer
    experts_used: int  # of a token in a layer
    max_rows: int  # tokens in one pass
    has_tokenizer: bool
    ram: int  # bytes that it takes of the budget, those below among them
    dense_bytes: int
    kv_bytes: int
    scratch_bytes: int
    cache_bytes: int
    expert_bytes: int  # of all experts, wherever they are


@dataclasses.dataclass(frozen=True)
class ModelStats:
    """Of all sessions since the model was opened."""

    expert_requests: int
    expert_hits: int
    expert_loads: int
    expert_bytes_read: int
    expert_wait_seconds: float
    gpu_experts: int


def _taken(into, struct):
    return into(**{field.name: field.type(getattr(struct, field.name)) for field in dataclasses.fields(into)})


class Model(Handle):
    """Weights, tokenizer and expert cache of a .gguf file, a Hugging Face folder or a Sluice store (.slc).

    runtime: what it is opened with; None: one of its own, with all that is free.
    context: tokens of one session, at most (0: what the model supports, at most 8192, less where the budget is small).
    sessions: whole contexts that the budget is to hold at one time.
    kv: keys and values in "f16", "f32" or "q8_0".
    compute: quantised weights meet activations of 8 bits ("q8") or "f32".
    policy, predict, width, calibration: as the command line's options of these names.
    ram: of the runtime's budget, at most; None: what other models have left of it.
    max_rows: tokens in one pass, at most (0: as the budget allows).
    skip, prefer_resident: approximations, 0 (none) to 1.
    progress: called with 0 to 1 while dense weights are read; what it raises stops the opening.

    Any number of threads may use one. Raises SluiceError; its status is "budget" where the memory does not do, and the
    message names the smallest that would.
    """

    def __init__(self, path: Union[str, os.PathLike], runtime: Optional[Runtime] = None, *, context: int = 0,
                 sessions: int = 1, kv: str = "f16", compute: str = "q8", policy: str = "auto", predict: str = "auto",
                 width: Union[str, int] = "exact", calibration: Optional[str] = None, ram: Optional[Size] = None,
                 max_rows: int = 0, skip: float = 0.0, prefer_resident: float = 0.0,
                 progress: Optional[Callable[[float], Any]] = None):
        raised: list[BaseException] = []

        def tell(_, done: float) -> int:
            try:
                if progress is not None:
                    progress(done)
                return 0
            except BaseException as error:  # a KeyboardInterrupt, too
                raised.append(error)
                return 1

        options = sized(_library.ModelOptions, ram=parse_size(ram or 0), context=context, sessions=sessions,
                        kv=kv.encode(), compute=compute.encode(), policy=policy.encode(), predict=predict.encode(),
                        width=str(width).encode(), max_rows=max_rows, skip=skip, prefer_resident=prefer_resident,
                        calibration=None if calibration is None else os.fsencode(calibration), progress=Progress(tell))
        self._runtime = runtime or Runtime()
        handle = ctypes.c_void_p()
        try:
            call("sluice_model_open", self._runtime._handle, os.fsencode(path), options, handle)
        except SluiceError:
            if raised:
                raise raised[0] from None
            raise
        super().__init__("model", handle.value)
        self._info = _taken(ModelInfo, self._ask("sluice_model_get_info", _library.ModelInfo))

    def _ask(self, name: str, struct):
        asked = sized(struct)
        call(name, self._handle, asked)
        return asked

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def vocabulary(self) -> int:
        """Logits of a row."""
        return self._info.vocabulary

    @property
    def context(self) -> int:
        """Tokens of one session, at most."""
        return self._info.context

    def stats(self) -> ModelStats:
        return _taken(ModelStats, self._ask("sluice_model_get_stats", _library.ModelStats))

    def tokenize(self, text: Union[str, bytes], *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        """Ids; `add_special`: BOS and EOS where the model wants them; `parse_special`: control tokens written in the
        text become their ids."""
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        flags = (ADD_SPECIAL if add_special else 0) | (PARSE_SPECIAL if parse_special else 0)
        count = ctypes.c_size_t()
        capacity = len(data) + 8
        while True:
            ids = (ctypes.c_int32 * capacity)()
            call("sluice_tokenize", self._handle, data, len(data), flags, ids, capacity, count)
            if count.value <= capacity:
                return ids[:count.value]
            capacity = count.value

    def detokenize(self, ids: Iterable[int], *, show_special: bool = False) -> str:
        """The reverse; bytes that are no UTF-8 become U+FFFD."""
        tokens = as_tokens(ids)
        flags = PARSE_SPECIAL if show_special else 0
        return text_of(lambda to, capacity, length: call("sluice_detokenize", self._handle, token_pointer(tokens),
                                                         len(tokens), flags, to, capacity, length)
                       ).decode("utf-8", "replace")

    def ends(self, token: int) -> bool:
        """Whether it ends a generation."""
        return library.sluice_token_ends(self._handle, token) != 0

    def render_chat(self, messages: Sequence[Mapping[str, Any]], *, chat_template: Optional[str] = None,
                    add_generation_prompt: bool = True, **variables: Any) -> str:
        """The prompt that a conversation makes, by the model's chat template or the one that is given (Jinja), as
        apply_chat_template of Hugging Face Transformers makes it. `variables`: tools, enable_thinking …"""
        conversation = json.dumps({"messages": list(messages), "add_generation_prompt": add_generation_prompt,
                                   **variables}).encode()
        source = None if chat_template is None else chat_template.encode()
        return text_of(lambda to, capacity, length: call("sluice_render_chat", self._handle, conversation,
                                                         len(conversation), source, to, capacity, length)).decode()

    def session(self, ctx: int = 0) -> Session:
        """One sequence of at most `ctx` tokens (0: as many as the model's context)."""
        return Session(self, ctx)
