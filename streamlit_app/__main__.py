"""``python streamlit_app``: ``streamlit run streamlit_app/app.py``, which Ctrl-C ends at any time.

Streamlit handles Ctrl-C once its server listens; while it is imported and starts, this does.
What the first page needs is loaded while the server starts and the browser fetches the page, so
that whoever opens it first does not wait for it.
"""

import gc
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any


def _quit(*_: Any) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


def _load() -> None:
    try:
        import tokens

        from interp_core.registry import PAPERS
    finally:
        gc.enable()
    question = next(iter(PAPERS.values())).questions[0]
    tokens.of(question, question.params())


if __name__ == "__main__":
    signal.signal(signal.SIGINT, _quit)
    gc.disable()  # what is imported stays: to look for garbage among it only takes time
    from streamlit.web.cli import main

    threading.Thread(target=_load, daemon=True).start()
    main(["run", str(Path(__file__).with_name("app.py")), *sys.argv[1:]])
