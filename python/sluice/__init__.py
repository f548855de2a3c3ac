"""Mixture-of-experts language models whose experts stay on disk.

    import sluice
    model = sluice.Model("model.gguf", sluice.Runtime(ram="8G"))
    with model.session() as session:
        for text in session.generate("Once upon a time", max_tokens=100):
            print(text, end="", flush=True)
"""

from ._library import SluiceError, library as _loaded
from .model import Model, ModelInfo, ModelStats
from .runtime import Runtime
from .sampler import Sampler
from .session import Piece, Session, SessionStats, step

__version__: str = _loaded.sluice_version().decode()
__all__ = ["Model", "ModelInfo", "ModelStats", "Piece", "Runtime", "Sampler", "Session", "SessionStats", "SluiceError", "step"]
