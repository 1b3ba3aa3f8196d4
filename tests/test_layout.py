"""The repository's shape: one stem per paper in five places, who imports whom, and sizes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from interp_core.papers import PAPERS

ROOT = Path(__file__).parents[1]
CORE = sorted((ROOT / "interp_core").rglob("*.py"))
DRAWS = [ROOT / "interp_core" / folder for folder in ("charts", "plot")]
CHARTS = [path for path in CORE if path.parent in DRAWS]
APP = sorted((ROOT / "streamlit_app").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BUILT = [paper.stem for paper in PAPERS.values() if paper.built]
MAX_LINES, MAX_FUNCTION = 320, 80


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(source: str) -> set[str]:
    """Return the top-level packages that a module imports, anywhere in it."""
    packages = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            packages.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            packages |= {str(getattr(arg, "value", "")).split(".")[0] for arg in node.args}
    return packages


def longest_function(source: str) -> tuple[int, str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return max(
        (
            (node.end_lineno - node.lineno + 1, node.name)
            for node in ast.walk(ast.parse(source))
            if isinstance(node, functions)
        ),
        default=(0, ""),
    )


def test_papers_are_built():
    assert "logit_lens" in BUILT and CORE and CHARTS and APP


@pytest.mark.parametrize("stem", BUILT)
def test_a_paper_is_in_five_places(stem):
    papers = ROOT / "interp_core" / "papers"
    assert (papers / f"{stem}.py").exists() or (papers / stem / "__init__.py").exists()
    for place in (
        f"interp_core/charts/{stem}.py",
        f"streamlit_app/app_pages/{stem}.py",
        f"reports/papers/{stem}.qmd",
        f"tests/test_{stem}.py",
    ):
        assert (ROOT / place).exists(), f"{place} is missing"


def test_nothing_is_there_for_papers_that_are_not():
    stems = {paper.stem for paper in PAPERS.values()}
    for place, others in (
        ("interp_core/papers", {"__init__", "__pycache__"}),
        ("streamlit_app/app_pages", {"home", "__init__", "__pycache__"}),
        ("reports/papers", {"data"}),
    ):
        found = {p.stem for p in (ROOT / place).iterdir() if p.suffix in ("", ".py", ".qmd")}
        assert found - others - stems == set(), place


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_knows_no_app(path):
    assert not imported(path.read_text()) & {"streamlit", "streamlit_app", "torch", "pickle"}


@pytest.mark.parametrize("path", CHARTS, ids=name)
def test_charts_draw_numbers_only(path):
    assert not imported(path.read_text()) & {"mlx", "mlx_lm", "streamlit"}


@pytest.mark.parametrize("path", APP, ids=name)
def test_the_app_leaves_mlx_to_the_core(path):
    assert not imported(path.read_text()) & {"mlx", "mlx_lm", "transformers", "torch"}


def test_the_walk_sees_every_kind_of_import():
    sources = [
        "import mlx.core as mx",
        "from mlx import core",
        "def f():\n    import os, mlx.nn",
        "if x:\n    from mlx.core import array",
        "importlib.import_module('mlx.core')",
    ]
    assert all("mlx" in imported(source) for source in sources)
    assert "mlx" not in imported("import mlx_lm\nfrom . import mlx\nmlx = 'import mlx'")


@pytest.mark.parametrize("path", [*CORE, *APP], ids=name)
def test_files_and_functions_stay_short(path):
    source = path.read_text()
    assert len(source.splitlines()) <= MAX_LINES
    lines, function = longest_function(source)
    assert lines <= MAX_FUNCTION, function


def test_functions_are_measured():
    body = "\n".join(["    x = 1"] * 99)
    assert longest_function(f"class A:\n  def short(): pass\ndef f():\n{body}") == (100, "f")


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_test_files_stay_short(path):
    assert len(path.read_text().splitlines()) < 500
