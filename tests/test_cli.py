"""The command line: the documented JSON, files that parse, links, and one line for bad input."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pandas as pd
import pytest
from conftest import REFERENCE

from interp_core import cli, load_model, question
from interp_core.fields import fields_of
from interp_core.findings import Finding
from interp_core.models import catalogue
from interp_core.papers import causal_tracing, induction_heads
from interp_core.papers.logit_lens import PRESETS, Params, PromptsParams
from interp_core.query import link, to_query
from interp_core.question import run as compute
from interp_core.question import stored
from interp_core.registry import PAPERS

EIFFEL = "The Eiffel Tower is located in the city of"
KEYS = {
    "paper",
    "question",
    "params",
    "model",
    "summary",
    "findings",
    "frames",
    "provenance",
    "link",
}
AVERAGES = {"averages", "averages_prose"}
FRAMES = {"grid", "cells", "tokens", "watched", "attribution", "layers", *AVERAGES}
FINDING = {each.name for each in dataclasses.fields(Finding)}


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command in this process; return its status, output and errors."""

    def only_of_tiny_models(model, params):
        averages = isinstance(params, PromptsParams)
        assert not (averages and model.info.id == catalogue.DEFAULT), "run scripts/ship_results.py"
        return compute(model, params)

    monkeypatch.setattr(question, "run", only_of_tiny_models)

    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            status = cli.main(list(arguments))
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return call


def test_the_eiffel_prompt_as_json(run):
    status, out, err = run("logit-lens", "--prompt", EIFFEL, "--json", "-")
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert set(result) == KEYS and set(result["frames"]) == FRAMES
    assert (result["paper"], result["question"]) == ("logit-lens", "lens")
    assert result["model"] == catalogue.DEFAULT
    assert result["summary"]["final_token"] == " Paris"
    assert result["summary"]["final_probability"] == pytest.approx(0.70, abs=0.01)
    assert result["params"]["prompt"] == EIFFEL and set(result["params"]) == set(vars(Params()))
    shipped = stored(Params()).findings
    assert [f["id"] for f in result["findings"]] == [f.id for f in shipped] != []
    assert all(set(finding) == FINDING for finding in result["findings"])
    last = [row for row in result["frames"]["grid"] if row["layer"] == 29 and row["rank"] == 0][-1]
    assert last["token"] == " Paris"
    assert last["probability"] == pytest.approx(result["summary"]["final_probability"], abs=1e-4)
    assert {"layer", "position", "rank", "token", "probability"} <= set(last)
    assert len(result["provenance"]["model"]["weights_sha256"]) == 64


def test_a_new_prompt_is_computed_on_the_default_model(run):
    status, out, _ = run(
        "logit-lens",
        "--prompt",
        "The capital of Japan is",
        "--top-k",
        "2",
        "--layers",
        "28:",
        "--watch",
        " Tokyo",
        " Paris",
        "--json",
        "-",
    )
    result = json.loads(out)
    assert status == 0 and result["summary"]["final_token"] == " Tokyo"
    assert {row["layer"] for row in result["frames"]["grid"]} == {28, 29}
    watched = {row["target"] for row in result["frames"]["watched"]}
    assert {" Tokyo", " Paris"} <= watched and result["findings"]


def test_text_for_people(run):
    status, out, err = run("logit-lens")
    assert (status, err) == (0, "") and "final_token: ' Paris'" in out
    verdicts = [finding.verdict for finding in stored(Params()).findings]
    assert {"\u2713 holds", "\u2717 not replicated"} <= set(verdicts)
    assert all(out.count(f"\n  {each}  ") == verdicts.count(each) for each in set(verdicts))
    assert "link: /logit-lens" in out and catalogue.DEFAULT in out


def test_written_files_parse_back(run, tmp_path):
    status, out, err = run("logit-lens", "--out", str(tmp_path / "new" / "folder"))
    files = {file.name: file.read_bytes() for file in (tmp_path / "new" / "folder").iterdir()}
    assert status == 0 and out == "" and f"{len(files)} files in " in err
    kinds = {name.rsplit(".", 1)[1] for name in files}
    assert kinds == {"csv", "parquet", "json", "png", "svg", "html", "py"}
    whole = json.loads(files["result.json"])
    assert set(whole) == KEYS
    for name in FRAMES:
        rows = len(whole["frames"][name])
        table = pd.read_csv(io.BytesIO(files[f"{name}.csv"]), keep_default_na=False)
        assert len(table) == len(pd.read_parquet(io.BytesIO(files[f"{name}.parquet"]))) == rows
        assert list(table.columns) == list(whole["frames"][name][0])
    for name, data in files.items():
        if name.endswith(".png"):
            assert data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 2000
        elif name.endswith(".svg"):
            assert ET.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg"
        elif name.endswith(".html"):
            text = data.decode()
            assert "vega" in text and not re.search(
                r"""<[^>]+\b(src|href)\s*=\s*["']?https?:""", text
            )
    compile(files["snippet.py"], "snippet.py", "exec")


def test_the_snippet_makes_the_same_result_and_shows_it(run, tmp_path, capsys):
    folder = str(tmp_path)
    run(
        "logit-lens",
        "--prompt",
        'a "b"\n{c}',
        "--layers",
        "3:9:2",
        "--watch",
        " a",
        "--out",
        folder,
    )
    names: dict = {}
    exec((tmp_path / "snippet.py").read_text(), names)
    assert capsys.readouterr().out.strip() == repr(names["result"].summary)
    written = json.loads((tmp_path / "result.json").read_text())
    assert names["result"].params == Params(prompt='a "b"\n{c}', layers=(3, 9, 2), watch=(" a",))
    assert json.loads(names["result"].to_json())["summary"] == written["summary"]


def test_json_goes_to_a_file(run, tmp_path):
    status, out, _ = run("logit-lens", "--json", str(tmp_path / "a.json"))
    assert (status, out) == (0, "")
    assert set(json.loads((tmp_path / "a.json").read_text())) == KEYS


VALUES = {
    "prompt": ["the cat"],
    "model": [str(REFERENCE / "llama")],
    "layers": ["1:"],
    "chat": ["true"],
    "positions": ["2:"],
    "top_k": ["3"],
    "stream": ["mlp_out"],
    "watch": ["o", "e"],
    "bos": ["true"],
    "skip_first": ["0"],
}


def test_every_field_is_a_flag(run, monkeypatch):
    assert set(VALUES) == {field.name for field in dataclasses.fields(Params)}
    monkeypatch.setattr(cli, "_result", lambda params: params)
    monkeypatch.setattr(cli, "_deliver", lambda params, options: print(to_query(params)))
    for name, values in VALUES.items():
        status, out, err = run("logit-lens", f"--{name.replace('_', '-')}", *values)
        assert (status, err) == (0, "")
        given = values[0] if name not in ("watch",) else tuple(values)
        assert out.strip() == to_query(Params(**{name: given})) != ""
    assert run("logit-lens", "--chat")[1].strip() == "chat=true"
    _, help_, _ = run("logit-lens", "lens", "--help")
    assert all(f"--{name.replace('_', '-')}" in help_ for name in VALUES)
    _, help_, _ = run("logit-lens", "--help")
    assert all(question.name in help_ for question in PAPERS["logit-lens"].questions)


@pytest.mark.parametrize("paper", PAPERS.values(), ids=lambda paper: paper.name)
def test_every_field_of_every_question_is_a_flag(run, paper):
    for each in paper.questions:
        status, help_, _ = run(paper.name, each.name, "--help")
        assert status == 0
        for field in fields_of(each.params).values():
            assert f"{field.flag} " in help_ or f"{field.flag}]" in help_, field.name


@pytest.mark.parametrize(
    ("words", "params"),
    [
        (["causal-tracing"], causal_tracing.Params()),
        (["causal-tracing", "trace"], causal_tracing.Params()),
        (["causal-tracing", "edit", "--layer", "3"], causal_tracing.EditParams(layer=3)),
        (["causal-tracing", "scores", "--limit=8"], causal_tracing.ScoresParams(limit=8)),
        (["induction-heads", "--seeds", "3"], induction_heads.Params(seeds=3)),
        (["induction-heads", "ablation"], induction_heads.AblationParams()),
        (
            ["induction-heads", "training", "--toys", "2", "--resume=false"],
            induction_heads.TrainingParams(toys=("2",), resume=False),
        ),
        (
            ["induction-heads", "attention", "--layer", "1", "--head", "2", "--bos", "false"],
            induction_heads.AttentionParams(layer=1, head=2, bos=False),
        ),
    ],
)
def test_a_question_is_asked_by_its_name_and_the_first_by_none(run, monkeypatch, words, params):
    monkeypatch.setattr(cli, "_result", lambda params: params)
    monkeypatch.setattr(cli, "_deliver", lambda params, options: print(repr(params)))
    assert run(*words) == (0, f"{params!r}\n", "")
    assert run("link", link(params)) == (0, f"{params!r}\n", "")


def test_a_question_without_a_model_loads_none(run, monkeypatch, tmp_path):
    """What ships is shown; what does not is trained on no model of the reader's."""
    monkeypatch.setattr(cli, "load_model", lambda *_: pytest.fail("a model was loaded"))
    status, out, err = run("induction-heads", "training", "--json", "-")
    document = json.loads(out)
    assert (status, err) == (0, "") and document["question"] == "training"
    assert document["link"] == "/induction-heads?question=training"
    asked = []
    monkeypatch.setattr(
        question, "run", lambda model, params: asked.append(model) or stored(type(params)())
    )
    assert run("induction-heads", "training", "--steps", "60", "--json", "-")[0] == 0
    assert asked == [None]


def test_a_folder_runs_and_is_then_listed(run):
    status, out, _ = run(
        "logit-lens", "--model", str(REFERENCE / "gpt2"), "--prompt", "the cat", "--json", "-"
    )
    model = json.loads(out)["model"]
    assert status == 0 and re.fullmatch(r"gpt2@[0-9a-f]{8}", model)
    assert model in run("models")[1]
    assert run("link", f"model={model}&prompt=the+cat&top_k=2", "--json", "-")[0] == 0


BAD = {
    "nothing": ([], "required"),
    "no such command": (["monosemanticity"], "invalid choice"),
    "no such question": (["causal-tracing", "edits"], "argument QUESTION: invalid choice: 'edits'"),
    "no such flag": (
        ["logit-lens", "--colour", "red"],
        "--colour red is not accepted; accepted: --model, --prompt",
    ),
    "no such flag of models": (["models", "--colour"], "--colour is not accepted"),
    "another's flag": (
        ["causal-tracing", "--new-object", "Rome"],
        "new_object: causal-tracing trace does not read it; it is read by edit; accepted: ",
    ),
    "another's flag, =": (
        ["causal-tracing", "edit", "--samples=3"],
        "samples: causal-tracing edit does not read it; it is read by trace, average",
    ),
    "a question as a flag": (
        ["causal-tracing", "--edit"],
        "edit: it is a question, asked as causal-tracing edit",
    ),
    "a question and a flag": (
        ["induction-heads", "--context", "512"],
        "context: induction-heads heads does not read it; it is read by context",
    ),
    "not read": (
        ["causal-tracing", "--corruption", "swap", "--swap", "North Korea", "--noise", "2"],
        "noise: it is read only with corruption=gaussian or uniform; accepted: 3.0",
    ),
    "a layer too deep": (
        ["causal-tracing", "edit", "--layer", "30"],
        "layer: 30 is not accepted; this model has 30 layers, so accepted: 0 to 29",
    ),
    "link, another's key": (["link", "/causal-tracing?new_object=Rome"], "it is read by edit"),
    "link, a question": (["link", "/causal-tracing?edit=true"], "edit: it is a question"),
    "link, no question": (
        ["link", "/causal-tracing?question=survey"],
        "question: 'survey' is not accepted; accepted: trace, average, edit, scores",
    ),
    "link, a view": (["link", "view_colour=red"], "view_colour: 'red' is not accepted"),
    "top_k": (["logit-lens", "--top-k", "0"], "top_k: '0' is not accepted"),
    "top_k text": (["logit-lens", "--top-k", "ten"], "top_k: 'ten' is not accepted"),
    "no value": (["logit-lens", "--top-k"], "expected one argument"),
    "empty": (["logit-lens", "--prompt", " \n "], "prompt: "),
    "surrogate": (["logit-lens", "--prompt", "\udce9t\udce9"], "lone surrogate"),
    "long": (["logit-lens", "--prompt", "x" * 20_001], "accepted: up to 20000"),
    "too many tokens": (["logit-lens", "--prompt", "a b " * 600], "prompt: it has"),
    "span": (["logit-lens", "--layers", "5:2"], "layers: "),
    "negative": (["logit-lens", "--layers=-3"], "layers: "),
    "past the end": (["logit-lens", "--layers", "0:31"], "layers: 0:31 is not accepted"),
    "positions": (["logit-lens", "--positions", "40:"], "positions: 40: is not accepted"),
    "stream": (["logit-lens", "--stream", "q"], "stream: 'q' is not accepted"),
    "watch": (["logit-lens", "--watch", " two words"], "watch: "),
    "model": (["logit-lens", "--model", "nothing\nhere"], "is unknown; accepted"),
    "folder": (["logit-lens", "--model", "/"], "holds no model*.safetensors"),
    "json": (["logit-lens", "--json", "/nowhere/at/all.json"], "/nowhere/at/all.json"),
    "out": (["logit-lens", "--out", "/dev/null/x"], "/dev/null"),
    "link path": (["link", "/logit-lens?model=/etc/passwd"], "not accepted in a link"),
    "link folder": (["link", f"/logit-lens?model={REFERENCE / 'olmo2'}"], "not accepted in a link"),
    "link unlisted": (["link", "model=some%2Funlisted-model"], "not accepted in a link"),
    "link absent": (["link", "model=pythia-1b"], "pythia-1b is not on this machine"),
    "link paper": (
        ["link", "/monosemanticity?top_k=3"],
        "there is no paper 'monosemanticity'",
    ),
    "link key": (["link", "colour=red"], "colour: no such parameter"),
    "link value": (["link", "http://h/logit-lens?top_k=999"], "top_k: '999' is not accepted"),
    "link broken": (["link", "http://["], "Invalid IPv6 URL"),
    "link bytes": (["link", "prompt=%ff"], "link: "),
    "link nothing": (["link"], "required"),
    "escape": (["link", "x%1b]0;owned%07=1"], r"x\x1b]0;owned\x07: no such parameter"),
    "escape flag": (["logit-lens", "--top-k\x1b]0;owned\x07", "1"], r"--top-k\x1b]0;owned\x07"),
    "escape paper": (["logit\x1b[2J\u202elens"], r"invalid choice: 'logit\x1b[2J\u202elens'"),
    "escape path": (["logit-lens", "--json", "/no\x1b[2Jwhere/a"], r"\x1b[2J"),
    "escape model": (["logit-lens", "--model", "no\x1b[2J"], r"\x1b[2J"),
    "long flag": (["logit-lens", f"--{'x' * 20_000}"], "xxx..."),
    "long path": (["logit-lens", "--json", "/" + "x" * 20_000], "File name too long"),
    "long model": (["link", f"model={'x' * 20_000}"], "model: 'xxx"),
    "fetch": (["models", "--fetch", "nothing here"], "is unknown; accepted"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_status_2(run, case):
    arguments, message = BAD[case]
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.endswith("\n") and len(err.splitlines()) == 1, err
    assert message in err and "Traceback" not in err
    assert err[:-1].isprintable() and len(err) < 1200


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (RuntimeError("[metal::malloc] Attempting to allocate 9\n bytes"), 1, "not enough memory"),
        (MemoryError(), 1, "There is not enough memory for this."),
        (RuntimeError("[load] \x1b[2J"), 1, r"The computation failed: [load] \x1b[2J"),
        (ValueError("[matmul] shape (2,3)"), 1, "The computation failed: [matmul] shape (2,3)"),
        (ValueError("prompt: it is too long"), 2, "error: prompt: it is too long"),
    ],
)
def test_a_computation_that_fails_is_one_line(run, monkeypatch, error, status, line):
    def fail(*_):
        raise error

    monkeypatch.setattr(cli, "_result", fail)
    found, out, err = run("logit-lens")
    assert (found, out) == (status, "") and line in err
    assert len(err.splitlines()) == 1 and err[:-1].isprintable()


def test_a_model_goes_by_its_listed_name(run, monkeypatch):
    monkeypatch.setattr(cli, "_result", lambda params: params)
    monkeypatch.setattr(cli, "_deliver", lambda params, options: print(params.model))
    assert run("logit-lens", "--model", catalogue.DEFAULT.upper())[1].strip() == catalogue.DEFAULT
    assert run("logit-lens", "--model", "/a/Folder")[1].strip() == "/a/Folder"


@pytest.mark.parametrize("name", ["A fact", "A chat turn"])
def test_links_run(run, name):
    query = to_query(PRESETS[name])
    whole = run("link", f"http://localhost:8501/logit-lens?{query}&view_colour=kl", "--json", "-")
    assert whole[0] == 0 and json.loads(whole[1])["link"] == f"/logit-lens?{query}"
    assert run("link", query, "--json", "-")[1] == whole[1]


def test_a_link_fetches_nothing(run, monkeypatch):
    monkeypatch.setattr(cli, "load_model", lambda *_: pytest.fail("a link loaded a model"))
    assert run("link", "model=gpt2-xl&prompt=hello")[0] == 2


def test_models(run):
    status, out, _ = run("models")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert status == 0 and set(lines) == set(catalogue.models())
    assert "ready" in lines[catalogue.DEFAULT] and "not loaded here yet" in lines["gpt2-xl"]


def test_fetch_checks_a_model(run):
    status, out, _ = run("models", "--fetch", str(REFERENCE / "qwen3_tied"))
    assert status == 0 and "model_type='qwen3'" in out
    assert load_model(REFERENCE / "qwen3_tied").info.id in run("models")[1]


def test_doctor(run):
    status, out, _ = run("doctor")
    names = [line.split(":")[0] for line in out.splitlines()]
    assert status == 0 and names == [
        "system",
        "device",
        "BLAS",
        "matrix product",
        "cache",
        "models ready",
        "Quarto",
        "versions",
    ]
    assert int(re.search(r"(\d+) GFLOP/s", out)[1]) > 0


def test_help_names_every_paper(run):
    status, out, _ = run("--help")
    assert status == 0 and all(name in out for name in [*PAPERS, "link", "models", "doctor"])
    assert isinstance(cli._parser(), argparse.ArgumentParser)


def test_commands_of_the_readme_are_commands():
    text = (Path(__file__).parents[1] / "README.md").read_text()
    commands = re.findall(r"^ +python -m interp_core (.+)", text, re.M)
    assert len(commands) > 5
    for command in commands:
        words = cli._with_question(shlex.split(command))
        assert cli._parser().parse_known_args(words)[1] == [], command


def python(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "interp_core", *arguments]
    cwd = Path(__file__).parents[1]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, **options)


def test_as_a_process():
    done = python("logit-lens", "--prompt", EIFFEL, "--json", "-")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["summary"]["final_token"] == " Paris"
    done = python("logit-lens", "--top-k", "0")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_output_cut_off_by_its_reader_is_no_error():
    command = (
        f"{sys.executable} -m interp_core logit-lens --json - | head -c 10; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert done.stdout.endswith("0\n") and done.stderr == ""
