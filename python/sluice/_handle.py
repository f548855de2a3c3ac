"""Objects that stand for a handle of the C library."""

import weakref

from ._library import library


class Handle:
    """Destroyed by close(), at the end of a `with`, or when nobody has it any more: in any order."""

    def __init__(self, kind: str, handle: int):
        self._kind = kind
        self._finalizer = weakref.finalize(self, getattr(library, f"sluice_{kind}_destroy"), handle)
        self._raw = handle

    @property
    def _handle(self) -> int:
        if not self._finalizer.alive:
            raise ValueError(f"the {self._kind} is closed")
        return self._raw

    def close(self) -> None:
        self._finalizer()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()
