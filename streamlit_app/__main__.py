"""``python streamlit_app``: ``streamlit run streamlit_app/app.py``, which Ctrl-C ends at any time.

Streamlit handles Ctrl-C once its server listens; while it is imported and starts, this does.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any


def _quit(*_: Any) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, _quit)
    from streamlit.web.cli import main

    main(["run", str(Path(__file__).with_name("app.py")), *sys.argv[1:]])
