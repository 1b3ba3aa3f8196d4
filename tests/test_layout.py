"""The repository's shape: where a paper stands, who imports whom, and sizes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from interp_core.registry import PAPERS

ROOT = Path(__file__).parents[1]
CORE = sorted((ROOT / "interp_core").rglob("*.py"))
APP = sorted((ROOT / "streamlit_app").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MAX_LINES, MAX_FUNCTION = 300, 65
DRAWS_ONLY = [path for path in CORE if "plot" in path.parts or path.stem.startswith("figures")]
"""Files that know numbers only."""
ALONE = {"interp_core"}
"""The package's own front, which loads MLX for whoever imports anything of it."""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str) -> set[str]:
    """Return the modules that a source imports, anywhere in it, with what it imports from them."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found |= {str(getattr(arg, "value", "")) for arg in node.args}
    return found


def packages(source: str) -> set[str]:
    return {each.split(".")[0] for each in imported(source)}


MODULES = {module(path): path for path in CORE}


def edges(source: str) -> set[str]:
    """Return the modules of the package that a source imports; of "from a import b", b if it is one."""
    found = imported(source) & MODULES.keys()
    inner = {each.rpartition(".")[0] for each in found}
    straight = {
        alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    named = {
        node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        and any(f"{node.module}.{alias.name}" not in MODULES for alias in node.names)
    }
    return {each for each in found if each not in inner or each in straight | named}


GRAPH = {each: edges(path.read_text()) - {each} for each, path in MODULES.items()}


def reached(start: str) -> set[str]:
    """Return the modules that importing ``start`` brings with it, by any path."""
    seen, waiting = {start}, [start]
    while waiting:
        for other in GRAPH[waiting.pop()] - seen:
            seen.add(other)
            waiting.append(other)
    return seen


def circles() -> list[set[str]]:
    """Return the groups of modules that import each other."""
    reach = {each: reached(each) for each in GRAPH}
    groups = [{b for b in reach[a] if a in reach[b]} for a in GRAPH]
    return [group for group in groups if len(group) > 1]


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


@pytest.mark.parametrize("stem", [paper.stem for paper in PAPERS.values()])
def test_a_paper_is_in_three_places(stem):
    papers = ROOT / "interp_core" / "papers"
    assert (papers / f"{stem}.py").exists() or (papers / stem / "__init__.py").exists()
    for place in (f"reports/papers/{stem}.qmd", f"tests/test_{stem}.py"):
        assert (ROOT / place).exists(), f"{place} is missing"


def test_no_other_place_has_a_file_for_a_paper():
    stems = {paper.stem for paper in PAPERS.values()}
    assert stems & {path.stem for path in APP} == set()
    known = {path.stem for path in (ROOT / "interp_core" / "papers").iterdir()}
    assert known - stems <= {"__init__", "__pycache__"}


def test_imports_run_one_way():
    assert circles() == []


def test_the_walk_finds_circles(monkeypatch):
    monkeypatch.setitem(GRAPH, "interp_core.plot.theme", {"interp_core.question"})
    monkeypatch.setitem(GRAPH, "interp_core.question", {"interp_core.plot.theme"})
    assert circles()


@pytest.mark.parametrize("path", DRAWS_ONLY, ids=name)
def test_figures_reach_neither_mlx_nor_streamlit(path):
    for each in reached(module(path)) - ALONE:
        assert not packages(MODULES[each].read_text()) & {"mlx", "mlx_lm", "streamlit"}, each


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_knows_no_app(path):
    forbidden = {"streamlit", "streamlit_app", "torch", "pickle"}
    if path.name == "torch_files.py":  # whose reader resolves the names of tensors alone
        forbidden -= {"pickle"}
    assert not packages(path.read_text()) & forbidden


@pytest.mark.parametrize("path", APP, ids=name)
def test_the_app_leaves_mlx_to_the_core(path):
    assert not packages(path.read_text()) & {"mlx", "mlx_lm", "transformers", "torch"}


def test_the_walk_sees_every_kind_of_import():
    sources = [
        "import mlx.core as mx",
        "from mlx import core",
        "def f():\n    import os, mlx.nn",
        "if x:\n    from mlx.core import array",
        "importlib.import_module('mlx.core')",
    ]
    assert all("mlx" in packages(source) for source in sources)
    assert "mlx" not in packages("import mlx_lm\nfrom . import mlx\nmlx = 'import mlx'")


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
