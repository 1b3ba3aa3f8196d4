"""A hub of models on this machine, that answers as the Hugging Face hub does."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "c" * 40


class Hub(BaseHTTPRequestHandler):
    """Answers of a hub that has one repository."""

    repository: str
    files: dict[str, bytes]

    def do_GET(self):
        path = unquote(self.path.partition("?")[0])
        api, resolved = f"/api/models/{self.repository}", f"/{self.repository}/resolve/{COMMIT}/"
        if path.startswith(resolved):
            self._file(path.removeprefix(resolved))
        elif path.startswith(f"{api}/tree/"):
            folder = path.removeprefix(f"{api}/tree/").partition("/")[2]
            self._json([self._entry(name) for name in self.files if name.startswith(folder)])
        elif path.startswith(api):
            siblings = [{"rfilename": name} for name in self.files]
            self._json({"id": self.repository, "sha": COMMIT, "siblings": siblings})
        else:
            self._absent("RepoNotFound")

    do_HEAD = do_GET

    def _entry(self, name):
        content = self.files[name]
        return {"type": "file", "path": name, "size": len(content), "oid": _digest(content)}

    def _file(self, name):
        if name not in self.files:
            self._absent("EntryNotFound")
            return
        content = self.files[name]
        self._answer(content, {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": COMMIT})

    def _json(self, value):
        self._answer(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, content, headers):
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _absent(self, code):
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def serving(repository: str, files: dict[str, bytes]) -> Iterator[str]:
    """Serve one repository's files by their paths; yield the hub's address."""
    kind = type("OneHub", (Hub,), {"repository": repository, "files": files})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
