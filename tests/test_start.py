"""The first minutes: Ctrl-C while things start, who reaches the app, and what is installed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
INTERRUPTS = """
import os, signal, sys

at = os.environ.pop("INTERRUPT_AT")

class Interrupts:
    def find_spec(name, path=None, target=None):
        if name == at:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts)
"""


def not_ignored() -> None:
    """Let a child see Ctrl-C, even where the tests run behind ``nohup`` or ``&``."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def interrupted(tmp_path):
    """Run Python with these arguments; Ctrl-C comes when it is about to import a module."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTS)

    def run(module: str, *arguments: str) -> tuple[int, str, str]:
        paths = os.pathsep.join([str(tmp_path), str(ROOT)])
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths, "INTERRUPT_AT": module},
            preexec_fn=not_ignored,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize(
    "module",
    [
        "interp_core.blas",
        "numpy",
        "mlx.core",
        "interp_core.cli",
        "pandas",
        "interp_core.papers.causal_tracing",
    ],
)
def test_an_interrupt_while_starting_is_one_line(interrupted, module):
    ended = interrupted(module, "-m", "interp_core", "models")
    assert ended == (130, "", "interrupted\n")


def test_an_interrupt_reaches_a_running_command_as_an_exception(interrupted):
    command = "import interp_core.cli as cli; cli.doctor.report = lambda: __import__('this_moment')"
    code = f"{command}; raise SystemExit(cli.main(['doctor']))"
    assert interrupted("this_moment", "-c", code) == (130, "", "interrupted\n")


def test_programs_that_import_the_package_keep_their_interrupt(interrupted):
    code = """
import interp_core
try:
    import this_moment
except KeyboardInterrupt:
    print("mine")
"""
    assert interrupted("this_moment", "-c", code) == (0, "mine\n", "")


def test_an_interrupt_while_the_app_starts_is_one_line(interrupted):
    assert interrupted("streamlit.runtime", "streamlit_app") == (130, "", "interrupted\n")


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """The port of an app that was started by hand, from the top of the repository."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("app") / "log"
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app/app.py"]
    options = ["--server.port", str(port), "--server.headless", "true"]
    with log.open("w") as file:
        process = subprocess.Popen([*command, *options], cwd=ROOT, stdout=file, stderr=file)
    for _ in range(240):
        try:
            urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=1)
            break
        except OSError:
            time.sleep(0.25)
    yield port
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert "Traceback" not in log.read_text()


def other_address() -> str:
    """The machine's address on a network, found without sending anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine is on no network")
        return probe.getsockname()[0]


def test_the_app_listens_on_loopback_alone(port):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((other_address(), port), timeout=5).close()


def test_uploads_without_the_page_s_token_are_refused(port):
    url = f"http://localhost:{port}/_stcore/upload_file/session/file"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(url, data=b"x", method="PUT"))
    assert refused.value.code == 403
    refused.value.close()


def test_readers_see_no_error_details_and_send_no_large_messages():
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert config["client"]["showErrorDetails"] == "none"
    assert config["server"]["maxUploadSize"] <= 200 and config["server"]["maxMessageSize"] <= 10


def make(*arguments: str) -> str:
    """Return what ``make`` would run."""
    command = ["make", "--dry-run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout


def test_make_app_opens_to_others_only_when_asked(monkeypatch):
    monkeypatch.setenv("HOST", "0.0.0.0")  # some shells and tools set it
    assert "--server.address 127.0.0.1" in make("app")
    assert "--server.address 0.0.0.0" in make("app", "HOST=0.0.0.0")


def requirements(file: str) -> list[Requirement]:
    lines = (re.sub(r"(^|\s)#.*", "", line) for line in (ROOT / file).read_text().splitlines())
    return [Requirement(line) for line in lines if line.strip()]


SYSTEMS = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("system", SYSTEMS, ids=" ".join)
def test_the_lock_pins_what_is_asked_for(system, python):
    machine = {
        "sys_platform": system[0],
        "platform_machine": system[1],
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "python_version": python,
        "python_full_version": f"{python}.1",
    }
    here = lambda r: r.marker is None or r.marker.evaluate(machine)
    locked = list(filter(here, requirements("requirements.lock")))
    versions = {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in locked}
    assert len(versions) == len(locked) and not any(r.url for r in locked)
    for file in ("requirements.txt", "reports/requirements.txt", "tests/requirements.txt"):
        for asked in filter(here, requirements(file)):
            assert asked.specifier.contains(versions[canonicalize_name(asked.name)]), asked


def test_the_lock_names_no_index():
    assert not re.search(r"://|index-url|find-links", (ROOT / "requirements.lock").read_text())


def test_make_installs_what_is_locked():
    installs = [line for line in make("-B", "test").splitlines() if " -r " in line]
    assert len(installs) == 3 and all("-c requirements.lock" in line for line in installs)
