"""A model of lm-evaluation-harness:  lm_eval --model sluice --model_args path=model.gguf,ram=8G --tasks …

Importing this module registers it; the command finds it by `--include_path` of no tasks: run
`python -m sluice.lm_eval` in place of `lm_eval`, with the same arguments.
"""

from typing import Optional

import numpy as np
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from .model import Model
from .runtime import Runtime


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Of float32 [n, vocabulary], in double precision."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


@register_model("sluice")
class SluiceLM(TemplateLM):
    """path: what sluice.Model opens; ram, vram, threads: of sluice.Runtime; max_length: of its context; others go to
    sluice.Model."""

    def __init__(self, path: str, ram: Optional[str] = None, vram: str = "0", threads: Optional[int] = None,
                 max_length: int = 0, max_gen_toks: int = 256, batch_size: object = 1, max_batch_size: object = None,
                 device: object = None, **options):
        super().__init__()
        runtime = Runtime(ram=ram, vram=vram, threads=None if threads is None else int(threads))
        self.model = Model(path, runtime, context=int(max_length), **options)
        self.session = self.model.session()
        self.max_gen_toks = int(max_gen_toks)
        self._tokens: list[int] = []  # that the session has
        special = self.model.tokenize("", add_special=True)
        ends = (token for token in range(self.model.vocabulary) if self.model.ends(token))
        self._prefix = special[0] if special else next(ends, 0)

    @property
    def eot_token_id(self) -> int:
        return self._prefix

    @property
    def prefix_token_id(self) -> int:
        """What a text begins with where there is no context."""
        return self._prefix

    @property
    def max_length(self) -> int:
        return self.model.context

    @property
    def tokenizer_name(self) -> str:
        return "sluice"

    def tok_encode(self, string: str, add_special_tokens: Optional[bool] = None, **_) -> list[int]:
        return self.model.tokenize(string, add_special=bool(add_special_tokens))

    def tok_decode(self, tokens, **_) -> str:
        return self.model.detokenize(tokens)

    def _logits(self, tokens: list[int], first: int) -> np.ndarray:
        """Of tokens[first:]; what the session has of those before is not computed again."""
        kept = 0
        while kept < min(first, len(self._tokens)) and tokens[kept] == self._tokens[kept]:
            kept += 1
        self.session.truncate(kept)
        self._tokens = tokens[:kept]
        logits = self.session.forward(tokens[kept:])
        self._tokens = list(tokens)
        return logits[first - kept:]

    def _score(self, context: list[int], continuation: list[int]) -> tuple[float, bool]:
        """How likely the continuation is, and whether it is the likeliest at each step."""
        tokens = (context + continuation)[-(self.max_length + 1):]
        first = len(tokens) - len(continuation) - 1
        scores = _log_softmax(self._logits(tokens[:-1], first))
        wanted = np.asarray(tokens[first + 1:])
        greedy = bool((scores.argmax(axis=-1) == wanted).all())
        return float(scores[np.arange(len(wanted)), wanted].sum()), greedy

    def _loglikelihood_tokens(self, requests, disable_tqdm: bool = False, **_) -> list[tuple[float, bool]]:
        answers = []
        for key, context, continuation in requests:
            answers.append(self._score(context or [self._prefix], continuation))
            if key is not None:
                self.cache_hook.add_partial("loglikelihood", key, answers[-1])
        return answers

    def loglikelihood_rolling(self, requests, disable_tqdm: bool = False) -> list[float]:
        answers = []
        for request in requests:
            windows = map(make_disjoint_window, get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]), prefix_token=self._prefix, max_seq_len=self.max_length,
                context_len=1))
            answers.append(sum(self._score(context, continuation)[0] for context, continuation in windows))
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, answers[-1])
        return answers

    def generate_until(self, requests, disable_tqdm: bool = False) -> list[str]:
        answers = []
        for context, options in (request.args for request in requests):
            options = dict(options)
            until = options.pop("until", None) or []
            wanted = int(options.pop("max_gen_toks", self.max_gen_toks))
            sampled = options.pop("do_sample", False)
            temperature = float(options.pop("temperature", 0.0)) if sampled or "temperature" in options else 0.0
            tokens = self.tok_encode(context, add_special_tokens=True)[-max(1, self.max_length - wanted):]
            kept = self.session.keep_prefix(tokens)
            self._tokens = []
            stop = [until] if isinstance(until, str) else [text for text in until if text]
            answers.append("".join(self.session.generate(tokens[kept:], wanted, temperature=temperature, stop=stop)))
            self.session.truncate(0)
            self.cache_hook.add_partial("generate_until", (context, options), answers[-1])
        return answers


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
