"""Execute a `.qmd` page cell by cell and give back plain pandoc Markdown.

Covers the part of Quarto that the report uses: `{python}` cells and their options, inline expressions, and
`{{< include file >}}` on a line of its own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

INCLUDE = re.compile(r"^\{\{<\s*include\s+(\S+)\s*>\}\}[ \t]*$", re.MULTILINE)
FRONT_MATTER = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
FENCE = re.compile(
    r"^(`{3,}|~{3,})[ \t]*([^\n]*)\n(.*?)^\1[`~]*[ \t]*$\n?", re.MULTILINE | re.DOTALL
)
OPTION = re.compile(r"^#\|[ \t]?(.*)$")
INLINE = re.compile(r"`\{python\} ([^`\n]+)`")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
MARKDOWN_SIGNS = re.compile(r"([\\`*_{}\[\]<>#$@|~^'\"])")


class PageError(Exception):
    """A page that cannot be built; the text names the page and the cell."""


@dataclass(frozen=True)
class Block:
    """A stretch of a page: Markdown, a Markdown fence to leave alone, or a code cell with its options."""

    kind: str
    text: str
    options: Mapping[str, Any] = field(default_factory=dict)


class Session:
    """One Python kernel, started when it is needed, that runs the cells of one page after another.

    Each page begins with no names, in its own folder, as in Quarto; what is imported stays imported.
    """

    def __init__(self) -> None:
        self.page, self._fresh = Path(), True
        self._notebook = nbformat.v4.new_notebook()
        self._client: NotebookClient | None = None
        self._open = ExitStack()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def turn_to(self, page: Path) -> None:
        """Go on with another page."""
        self.page, self._fresh = page, True

    def run(self, source: str, name: str) -> list[Any]:
        """Run one cell and return its outputs; a cell that raises stops the page."""
        if self._client is None:
            self._client = NotebookClient(self._notebook, timeout=600, kernel_name="python3")
            # At its usual level each kernel warns that it talks over the loopback interface unencrypted.
            self._client.extra_arguments = ["--IPKernelApp.log_level=ERROR"]
            self._open.enter_context(self._client.setup_kernel())
        if self._fresh:
            self._fresh = False
            self._execute(f"%reset -f\n%cd -q {self.page.parent}")
        try:
            return self._execute(source)
        except CellExecutionError as error:
            raise PageError(
                f"{self.page}: {name} failed\n{ANSI.sub('', str(error)).strip()}"
            ) from None

    def _execute(self, source: str) -> list[Any]:
        assert self._client is not None
        cell = nbformat.v4.new_code_cell(source)
        self._notebook.cells.append(cell)
        self._client.execute_cell(cell, len(self._notebook.cells) - 1)
        return cell.outputs


def execute(page: Path, defaults: Mapping[str, Any], session: Session) -> str:
    """The page as Markdown with its front matter, every cell replaced by what it printed or displayed.

    `defaults` are cell options that hold where neither the page nor the cell says otherwise.
    """
    text = source(page)
    front = FRONT_MATTER.match(text)
    header = front.group(0) if front else ""
    meta = (yaml.safe_load(front.group(1)) if front else None) or {}
    options = {**defaults, **meta.get("execute", {})}
    session.turn_to(page)
    return header + "\n" + "".join(_executed(split(text[len(header) :]), options, session))


def split(text: str) -> Iterator[Block]:
    """Cut a page into its blocks, in order."""
    start = 0
    for fence in FENCE.finditer(text):
        yield Block("markdown", text[start : fence.start()])
        start = fence.end()
        if fence.group(2).strip() == "{python}":
            yield _cell(fence.group(3))
        else:
            yield Block("fence", fence.group(0))
    yield Block("markdown", text[start:])


def source(path: Path) -> str:
    """The text of a page, with what it includes."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PageError(f"{path} is included but does not exist") from None
    return INCLUDE.sub(lambda match: source(path.parent / match.group(1)), text)


def _cell(body: str) -> Block:
    lines = body.splitlines()
    count = next((i for i, line in enumerate(lines) if not OPTION.match(line)), len(lines))
    options = yaml.safe_load("\n".join(line[2:].removeprefix(" ") for line in lines[:count])) or {}
    return Block("code", "\n".join(lines[count:]).strip("\n"), options)


def _executed(
    blocks: Iterable[Block], defaults: Mapping[str, Any], session: Session
) -> Iterator[str]:
    number = 0
    for block in blocks:
        if block.kind == "code":
            number += 1
            yield _run_cell(block, number, defaults, session)
        elif block.kind == "markdown":
            yield INLINE.sub(lambda match: _run_inline(match.group(1), session), block.text)
        else:
            yield block.text


def _run_inline(expression: str, session: Session) -> str:
    for output in session.run(expression, f"inline expression `{expression}`"):
        data = output.get("data", {})
        if "text/markdown" in data:
            return data["text/markdown"].strip()
        if "text/plain" in data:
            return MARKDOWN_SIGNS.sub(r"\\\1", _unquoted(data["text/plain"]))
    raise PageError(f"{session.page}: inline expression `{expression}` has no value")


def _unquoted(text: str) -> str:
    # A string arrives as its repr; a reader wants the string.
    return ast.literal_eval(text) if text[:1] in "'\"" else text


def _run_cell(cell: Block, number: int, defaults: Mapping[str, Any], session: Session) -> str:
    options = {**defaults, **cell.options}
    label = options.get("label", "")
    outputs = []
    if options.get("eval", True):
        outputs = session.run(cell.text, f"cell {number} ({label})" if label else f"cell {number}")
    if not options.get("include", True):
        return ""
    shown = outputs if options.get("output", True) else []
    results = "\n\n".join(_output(output, options) for output in shown)
    code = _code(cell.text, options) if options.get("echo", True) else ""
    return f"\n{code}\n{_captioned(results, label, options)}\n"


def _code(source: str, options: Mapping[str, Any]) -> str:
    block = f"````python\n{source}\n````\n"
    fold = options.get("code-fold", False)
    if not fold:
        return block
    opened = " open" if fold == "show" else ""
    summary = options.get("code-summary", "Code")
    start = f"<details class='code-fold'{opened}><summary>{summary}</summary>"
    return f"```{{=html}}\n{start}\n```\n{block}```{{=html}}\n</details>\n```\n"


def _captioned(results: str, label: str, options: Mapping[str, Any]) -> str:
    """The outputs, in a division that a label makes a numbered figure or table."""
    if not results:
        return ""
    caption = options.get("fig-cap") or options.get("tbl-cap")
    if not caption or not label.startswith(("fig-", "tbl-")):
        return results + "\n"
    return f":::::: {{#{label}}}\n{results}\n\n:::::: {{.caption}}\n{caption}\n::::::\n::::::\n"


def _output(output: Any, options: Mapping[str, Any]) -> str:
    if output.output_type == "stream":
        if options.get("output") == "asis" and output.name == "stdout":
            return output.text
        return f"````{{.cell-output}}\n{output.text.rstrip()}\n````"
    data = output.get("data", {})
    if "text/markdown" in data:
        return data["text/markdown"]
    if "text/html" in data:
        return f"````{{=html}}\n{data['text/html']}\n````"
    if "image/png" in data:
        return f"![](data:image/png;base64,{data['image/png'].strip()})"
    return f"````{{.cell-output}}\n{data.get('text/plain', '')}\n````"
