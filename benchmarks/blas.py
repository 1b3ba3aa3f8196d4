"""Products of MLX under each BLAS, side by side: ``python benchmarks/blas.py``.

Each library serves MLX in a process of its own, as ``interp_core`` has it. Every shape is compared
with numpy's product, then timed in turn, library by library.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from harness import machine, threads
from tables import markdown

SHAPES = (
    (1024, 576, 1536),  # an MLP of the default model, 1,024 positions
    (64, 576, 1536),
    (512, 576, 576),
    (256, 1536, 576),
    (64, 576, 49152),  # the unembedding
    (1, 576, 49152),
)
SECONDS = 0.5
"""Of each shape, library and round."""


def libraries(folder: Path) -> dict[str, str]:
    """Return what to load, by name."""
    from interp_core.blas_libraries import LIBRARIES

    cmeel = next(f for f in metadata.files("cmeel-openblas") if f.name == "libopenblas.so.0")
    ours = {library.name: library.prepare(folder) for library in LIBRARIES}
    return {**ours, "cmeel-openblas": str(cmeel.locate())}


def serve(library: str, clock: str) -> None:
    """Answer the parent's shapes, one a line, with the median seconds of a product."""
    import ctypes

    ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    import mlx.core as mx
    import numpy as np

    now = time.process_time if clock == "cpu" else time.perf_counter
    for line in sys.stdin:
        m, k, n = json.loads(line)
        a, b = mx.random.normal((m, k)), mx.random.normal((n, k))
        expected = np.array(a) @ np.array(b).T
        np.testing.assert_allclose(np.array(a @ b.T), expected, rtol=1e-3, atol=1e-3)
        seconds, end = [], time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            start = now()
            mx.eval(a @ b.T)
            seconds.append(now() - start)
        print(statistics.median(seconds), flush=True)


class Process:
    """MLX over one library, in a process of its own."""

    def __init__(self, library: str, clock: str, n_threads: int) -> None:
        limits = {"OPENBLAS_THREAD_TIMEOUT": "12", "OPENBLAS_NUM_THREADS": str(n_threads)}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--library", library, "--clock", clock],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **limits},
            text=True,
        )

    def gflops(self, shape: tuple[int, int, int]) -> float | None:
        """Return the speed of a product [m, k] x [k, n], or None where the process is no more."""
        try:
            self._process.stdin.write(json.dumps(shape) + "\n")
            self._process.stdin.flush()
            m, k, n = shape
            return 2 * m * k * n / float(self._process.stdout.readline()) / 1e9
        except (BrokenPipeError, ValueError):
            return None

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="timed repetitions of each shape")
    parser.add_argument("--threads", type=int, default=threads(), help="of each library")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: of all threads"
    )
    parser.add_argument("--library", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.library:
        return serve(options.library, options.clock)
    if sys.platform != "linux":
        return print("MLX keeps its own products here: there is no BLAS to compare")
    speeds: dict[tuple, dict[str, list]] = {shape: {} for shape in SHAPES}
    with tempfile.TemporaryDirectory() as folder:
        running = {
            name: Process(path, options.clock, options.threads)
            for name, path in libraries(Path(folder)).items()
        }
        for round_ in range(options.rounds):
            print(f"round {round_ + 1} of {options.rounds}", file=sys.stderr, flush=True)
            for shape in SHAPES:
                for name, process in running.items():
                    speeds[shape].setdefault(name, []).append(process.gflops(shape))
        for process in running.values():
            process.close()
    rows = [
        ["x".join(map(str, shape)), *(_text(each) for each in by_name.values())]
        for shape, by_name in speeds.items()
    ]
    print(f"{machine()}; {options.threads} threads, {options.clock} clock.")
    print("GFLOP/s: the median of rounds (smallest-largest)")
    print(markdown(["product, float32", *running], rows))


def _text(speeds: list[float | None]) -> str:
    if None in speeds:
        return "does not run here"
    return f"{statistics.median(speeds):.0f} ({min(speeds):.0f}-{max(speeds):.0f})"


if __name__ == "__main__":
    main()
