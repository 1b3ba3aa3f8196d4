"""The first minutes: Ctrl-C while the command starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INTERRUPTS = """
import os, signal, sys

class Interrupts:
    def find_spec(name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts)
"""


@pytest.fixture
def interrupted(tmp_path):
    """Run Python with these arguments; Ctrl-C comes when it is about to import a module."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTS)

    def run(module: str, *arguments: str) -> tuple[int, str, str]:
        paths = os.pathsep.join([str(tmp_path), str(ROOT)])
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths, "INTERRUPT_AT": module},
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize(
    "module",
    [
        "interp_core.blas",
        "numpy",
        "mlx.core",
        "interp_core.cli",
        "pandas",
        "interp_core.papers.causal_tracing",
    ],
)
def test_an_interrupt_while_starting_is_one_line(interrupted, module):
    ended = interrupted(module, "-m", "interp_core", "models")
    assert ended == (130, "", "interrupted\n")


def test_an_interrupt_reaches_a_running_command_as_an_exception(interrupted):
    command = "import interp_core.cli as cli; cli.doctor.report = lambda: __import__('this_moment')"
    code = f"{command}; raise SystemExit(cli.main(['doctor']))"
    assert interrupted("this_moment", "-c", code) == (130, "", "interrupted\n")


def test_programs_that_import_the_package_keep_their_interrupt(interrupted):
    code = """
import interp_core
try:
    import this_moment
except KeyboardInterrupt:
    print("mine")
"""
    assert interrupted("this_moment", "-c", code) == (0, "mine\n", "")
