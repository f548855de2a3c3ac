"""Ctrl-C while the library computes: Python sees signals only between its own steps, and a call may take minutes."""

import threading
from typing import Callable

from ._library import library


def interruptible(session: int, compute: Callable[[], None]) -> None:
    """Runs compute(), which the session's handle computes for. In the main thread a KeyboardInterrupt aborts it, and is
    raised once it has stopped."""
    if threading.current_thread() is not threading.main_thread():
        return compute()
    failure: list[BaseException] = []
    begun, done = threading.Lock(), threading.Event()  # whoever has `begun` decides whether it is

    def run() -> None:
        if not begun.acquire(blocking=False):
            return
        try:
            compute()
        except BaseException as error:  # handed over to the caller's thread
            failure.append(error)
        finally:
            done.set()

    try:
        # An interrupt may come in any of these lines.
        threading.Thread(target=run, name="sluice", daemon=True).start()
        done.wait()
    except BaseException:
        if not begun.acquire(blocking=False):  # it has begun, with memory of the caller's
            library.sluice_session_abort(session)
            while not done.is_set():
                try:
                    done.wait()
                except KeyboardInterrupt:
                    pass
            library.sluice_session_forget_abort(session)  # if that came too late
        raise
    if failure:
        raise failure[0]
