"""A session of the app, as a browser keeps it, without the browser.

It speaks Streamlit's protocol over a websocket: it opens a link, runs fragments again as often as
the page says, and keeps what is drawn. It draws nothing itself, so the processor is the server's.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import pyarrow
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

PATIENCE = 120.0
"""Seconds after which a visit is given up, and counts as an error."""


@dataclass(frozen=True)
class Visit:
    """A link, and what is done with it."""

    kind: str
    """``stored`` (there already), ``fresh`` (computed now), ``left`` (a long one, abandoned)."""
    link: str

    @property
    def page(self) -> str:
        return self.link.partition("?")[0]


@dataclass
class Tab:
    """A session of the app, as a browser keeps it."""

    socket: ClientConnection
    elements: dict[tuple[int, ...], object] = field(default_factory=dict)
    polls: dict[str, asyncio.Task] = field(default_factory=dict)
    whole: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, visit: Visit) -> None:
        """Open the link and follow what the server draws, until cancelled."""
        await self.rerun(visit)
        try:
            async for data in self.socket:
                self.take(ForwardMsg.FromString(data), visit)
        finally:
            self.stop_polls()

    async def rerun(self, visit: Visit, fragment: str = "") -> None:
        message = BackMsg()
        state = message.rerun_script
        state.page_name, _, state.query_string = visit.link.partition("?")
        state.fragment_id, state.is_auto_rerun = fragment, bool(fragment)
        await self.socket.send(message.SerializeToString())

    def take(self, message: ForwardMsg, visit: Visit) -> None:
        kind = message.WhichOneof("type")
        if kind == "new_session" and not message.metadata.run.fragment_ids:
            self.elements.clear()
            self.stop_polls()
        elif kind == "delta":
            if message.delta.WhichOneof("type") == "new_element":
                self.elements[tuple(message.metadata.delta_path)] = message.delta.new_element
        elif kind == "auto_rerun":
            again = message.auto_rerun
            poll = self.poll(visit, again.fragment_id, again.interval)
            self.polls.setdefault(again.fragment_id, asyncio.ensure_future(poll))
        elif kind == "script_finished" and not self.polls and not message.script_finished:
            self.whole.set()  # a whole run of the page ended well, and nothing is waited for

    async def poll(self, visit: Visit, fragment: str, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            await self.rerun(visit, fragment)

    def stop_polls(self) -> None:
        for task in self.polls.values():
            task.cancel()
        self.polls.clear()

    def trouble(self) -> str:
        """Return the first error that the page shows, or nothing."""
        for element in self.elements.values():
            kind = element.WhichOneof("type")
            if kind == "exception":
                return element.exception.message or element.exception.type
            if kind == "alert" and element.alert.format == element.alert.ERROR:
                return element.alert.body
        return ""

    def progress(self) -> str:
        """Return what the page says of the job that it waits for."""
        bars = [each for each in self.elements.values() if each.WhichOneof("type") == "progress"]
        return bars[-1].progress.text if bars else "nothing is said"

    def content(self) -> str:
        """Return the sentences and figures of the page."""
        parts = []
        for _, element in sorted(self.elements.items(), key=lambda item: item[0]):
            kind = element.WhichOneof("type")
            if kind == "markdown" and element.markdown.element_type != element.markdown.CAPTION:
                parts.append(element.markdown.body)
            elif kind == "vega_lite_chart":
                chart = element.vega_lite_chart
                tables = [each.data.data for each in chart.datasets] + [chart.data.data]
                parts += [chart.spec, *map(text_of, filter(None, tables))]
        return "\n".join(parts)


def text_of(table: bytes) -> str:
    return pyarrow.ipc.open_stream(table).read_pandas().to_csv(float_format="%.6f")


@dataclass
class Outcome:
    """How a visit went."""

    visit: Visit
    seconds: float
    error: str = ""
    content: str = ""


async def open_(address: str, visit: Visit, stay: float) -> Outcome:
    """Make a visit in a tab of its own; ``stay`` is how long a tab that is left stays open."""
    url = address.replace("http", "ws", 1) + "/_stcore/stream"
    started = time.monotonic()
    content, error = "", ""
    try:
        async with connect(url, subprotocols=["streamlit"], max_size=None) as socket_:
            tab = Tab(socket_)
            run = asyncio.ensure_future(tab.run(visit))
            whole = asyncio.ensure_future(tab.whole.wait())
            limit = stay if visit.kind == "left" else PATIENCE
            await asyncio.wait({run, whole}, timeout=limit, return_when="FIRST_COMPLETED")
            if not tab.whole.is_set() and visit.kind != "left":
                error = repr(run.exception()) if run.done() else f"it never came: {tab.progress()}"
            error, content = error or tab.trouble(), tab.content()
            for task in (run, whole):
                task.cancel()
            await asyncio.gather(run, whole, return_exceptions=True)
    except OSError as failure:
        error = str(failure)
    return Outcome(visit, time.monotonic() - started, error, content)
