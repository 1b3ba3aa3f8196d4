"""Many readers at a time: how long pages take, and whether anything goes wrong.

    python benchmarks/load.py --sessions 20 --minutes 5

Starts the app with a cache of its own and opens it in many sessions (``tab.py``). Each visit opens
a link in a new tab, waits until the page is whole, and reads for a while; some open a long trace
and go away. Afterwards pages that were computed under load are opened on a second server, alone,
and must hold the same words and numbers; and with all tabs closed the server must come to rest.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from harness import default_model, machine
from tab import Outcome, Visit, open_

ROOT = Path(__file__).parents[1]
REST = 20.0
"""Seconds that the server is given to come to rest once all tabs are closed."""
PLACES = ["Chad", "Peru", "Cuba", "Togo", "Fiji", "Oman", "Laos", "Iran", "Mali", "Nepal", "Kenya"]
ABOUT = ["The capital of {} is", "The people of {} speak", "Most of the rivers in {} flow to the"]
STORED = [
    "logit-lens",
    "logit-lens?top_k=10&view_figure=attribution",
    "causal-tracing",
    "causal-tracing?question=average",
    "causal-tracing?question=edit",
    "induction-heads",
    "induction-heads?threshold=0.8",
    "induction-heads?question=ablation",
    "induction-heads?question=training",
]
KINDS = {"stored": 60, "fresh": 30, "left": 10}
"""How often visits are of each kind."""


def visits(seed: int) -> Iterator[Visit]:
    """Yield visits without end; no two fresh ones are alike."""
    draw = random.Random(seed)
    while True:
        kind = draw.choices(list(KINDS), KINDS.values())[0]
        number = draw.randrange(10**6)
        prompt = draw.choice(ABOUT).format(draw.choice(PLACES)).replace(" ", "+")
        fresh = f"logit-lens?prompt=In+{number},+{prompt[:1].lower()}{prompt[1:]}"
        heads = f"induction-heads?seeds=1&repeats=2&seed={number}"
        left = f"causal-tracing?samples=18&kinds=resid_post&seed={number}"
        links = {
            "stored": draw.choice(STORED),
            "fresh": fresh if draw.random() < 0.9 else heads,
            "left": left,
        }
        yield Visit(kind, links[kind])


async def read(address: str, seed: int, end: float, think: float) -> list[Outcome]:
    """Be one reader until ``end``."""
    draw, found = random.Random(seed), []
    await asyncio.sleep(draw.uniform(0, think))
    for visit in visits(seed):
        if time.monotonic() > end:
            return found
        found.append(await open_(address, visit, stay=draw.uniform(2, 8)))
        await asyncio.sleep(think * draw.uniform(0.5, 1.5))
    return found


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run the app with an empty cache that knows the default model; yield its address."""
    with tempfile.TemporaryDirectory() as cache, socket.socket() as free:
        (Path(cache) / "models").mkdir()
        (Path(cache) / "models" / folder.name).symlink_to(folder)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, "-m", "streamlit", "run", "streamlit_app/app.py"]
        options = ["--server.port", str(port), "--server.headless", "true"]
        process = subprocess.Popen(
            [*command, *options],
            cwd=ROOT,
            env={**os.environ, "LENSBOOK_CACHE": cache},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"{address}/_stcore/health", timeout=1)
                    break
                except OSError:
                    time.sleep(0.25)
            yield address, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(60)


async def load(address: str, watched: psutil.Process, given: argparse.Namespace) -> list[Outcome]:
    """Let all readers read, and print the server's memory now and then."""
    warm = [Visit("fresh", "logit-lens?prompt=The+first+prompt+of+all"), *map(stored, STORED)]
    for visit in warm:
        await open_(address, visit, 0)
    end = time.monotonic() + 60 * given.minutes
    readers = [read(address, given.seed + i, end, given.think) for i in range(given.sessions)]
    running = asyncio.gather(*readers)
    began = time.monotonic()
    while not running.done():
        gigabytes = watched.memory_info().rss / 1e9
        print(f"{time.monotonic() - began:5.0f} s: {gigabytes:.2f} GB", flush=True)
        await asyncio.wait([running], timeout=max(10, 6 * given.minutes))
    return [outcome for outcomes in await running for outcome in outcomes]


def stored(link: str) -> Visit:
    return Visit("stored", link)


def at_rest(watched: psutil.Process) -> str:
    """Return what the server does once everybody is gone."""
    time.sleep(REST)
    percent = watched.cpu_percent(5)
    busy = "" if percent < 20 else "; SOMETHING STILL RUNS"
    return f"{percent:.0f}% of a core{busy}; {watched.memory_info().rss / 1e9:.2f} GB"


_NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?")


def difference(one: str, other: str) -> str:
    """Return where two pages hold other words, or numbers apart by more than rounding; or nothing."""
    for a, b in itertools.zip_longest(one.split("\n"), other.split("\n"), fillvalue=""):
        if _NUMBER.sub("#", a) != _NUMBER.sub("#", b):
            return f"{a[:200]!r} is {b[:200]!r} alone"
        numbers, alone = ([float(x) for x in _NUMBER.findall(text)] for text in (a, b))
        if not np.allclose(numbers, alone, rtol=1e-3, atol=1e-5):
            return f"numbers of {a[:200]!r}"
    return ""


async def check(address: str, outcomes: list[Outcome]) -> list[str]:
    """Open pages again, alone, and return a line for each that differs."""
    wrong = []
    for outcome in outcomes:
        again = await open_(address, outcome.visit, 0)
        if found := again.error or difference(outcome.content, again.content):
            wrong.append(f"{outcome.visit.link}: {found}")
    return wrong


def table(outcomes: list[Outcome]) -> str:
    """Return the outcomes by page and kind; errors are listed below."""
    groups = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.visit.page, outcome.visit.kind].append(outcome)
    lines = ["| page | kind | visits | median s | p95 s | errors |", "|---|---|---|---|---|---|"]
    for (page, kind), found in sorted(groups.items()):
        seconds = [outcome.seconds for outcome in found]
        errors = sum(bool(outcome.error) for outcome in found)
        median, last = statistics.median(seconds), np.percentile(seconds, 95)
        lines.append(f"| {page} | {kind} | {len(found)} | {median:.2f} | {last:.2f} | {errors} |")
    named = {f"{each.visit.link}: {each.error}" for each in outcomes if each.error}
    return "\n".join([*lines, *sorted(named)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--think", type=float, default=15, help="mean seconds between visits")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", type=int, default=20, help="pages that are opened again, alone")
    given = parser.parse_args()
    folder = default_model()
    print(machine())
    with server(folder) as (address, watched):
        outcomes = asyncio.run(load(address, watched, given))
        print(table(outcomes))
        print("with all tabs closed:", at_rest(watched))
    done = [each for each in outcomes if each.visit.kind != "left" and not each.error]
    some = random.Random(given.seed).sample(done, min(given.check, len(done)))
    with server(folder) as (address, _):
        wrong = asyncio.run(check(address, some))
    print(f"{len(some)} pages opened again, alone: {len(wrong)} differ", *wrong, sep="\n")
    sys.exit(bool(wrong) or any(each.error for each in outcomes))


if __name__ == "__main__":
    main()
