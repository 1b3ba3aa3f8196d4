"""Ctrl-C on the command line: one line and status 130, from the first import on.

``python -m interp_core`` imports this package, and with it NumPy and MLX, before ``__main__`` has its
say. Until the command runs nothing needs tidying up, so there Ctrl-C ends the process at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any


def quit_while_starting() -> None:
    """Make Ctrl-C end this process, where it is ``python -m interp_core``.

    Programs that import the package keep their handlers, and so do processes that ignore Ctrl-C.
    """
    if _is_the_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _quit)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt within, so that a running command can stop its jobs."""
    if signal.getsignal(signal.SIGINT) is not _quit:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _quit)


def _is_the_command() -> bool:
    """Whether Python is still looking for the main module of ``-m interp_core``."""
    named = zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
    return sys.argv[:1] == ["-m"] and ("-m", "interp_core") in named


def _quit(*_: Any) -> None:
    # Not an exception: compiled modules turn one that is raised while they load into others.
    os.write(2, b"interrupted\n")
    os._exit(130)
