"""Activations of a site, captured once, and kept in a file that is mapped into memory."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from interp_core import store
from interp_core.models.language_model import LanguageModel
from interp_core.params import ParameterError
from interp_core.paths import cache_dir, whole
from interp_core.residual import ResidualStream, Site
from interp_core.runtime import report

_TOKENS = 2048
"""That run together."""
_ROWS = 1 << 14
"""Of the file, that are read at a time."""
SINK = 10.0
"""Medians of norms beyond which a token is called an attention sink, as the first of a text is."""
_SPARE = 200_000_000
"""Bytes of a disk that are left free."""


@dataclass(frozen=True)
class Activations:
    """Activations of a site, half precision, scaled."""

    rows: np.ndarray
    """[row, d_in], a view of the file."""
    used: np.ndarray
    """Numbers of the rows that are no attention sinks."""
    scale: float
    """What a row, as float32, is multiplied by: then their norms are sqrt(d_in) in the mean, which
    makes sparsities comparable between sites."""
    stored: float
    """What the model's activations were multiplied by before they were rounded."""

    def batch(self, at: np.ndarray) -> np.ndarray:
        """Return some of the used rows, scaled: [row, d_in] float32."""
        return self.rows[self.used[at]].astype(np.float32) * np.float32(self.scale)

    @property
    def whole_scale(self) -> float:
        """What the model's activations are multiplied by, in all."""
        return self.scale * self.stored


def read(stream: ResidualStream, ids: np.ndarray, site: Site) -> mx.array:
    """Return a site's values [text, pos, d_in] at all positions of texts [text, pos], float32.

    ``z`` is of all heads, flattened.
    """
    run = stream.run(mx.array(ids), stop=site.layer + 1, keep=[site], unembed=None)
    return run.acts[site].astype(mx.float32)


def capture(model: LanguageModel, windows: np.ndarray, site: Site, most: int) -> Activations:
    """Return the activations of windows [window, pos] at all positions but attention sinks.

    Position 0 is one in most models, and so may be a few others, as a line break: their activations are a hundred
    times as large as others, and would be all that a squared error sees.

    Raises:
        ParameterError: When there is not enough space on the disk for the file.
    """
    inside = windows.shape[1] - 1
    windows = windows[: max(1, -(-most // inside))]
    together = max(1, _TOKENS // windows.shape[1])
    text = store.array_digest(windows)
    of = {"model": model.info.fingerprint, "site": list(site), "text": text}

    def found(at: int) -> np.ndarray:
        values = read(model.stream, windows[at : at + together], site)[:, 1:]
        return np.array(values).reshape(-1, values.shape[-1])

    def unit() -> np.ndarray:
        return np.array(_unit(found(0)), np.float32)

    stored = float(store.measured("activations", of, "", unit))
    file = cache_dir("activations") / f"{store.digest(of)}.npy"
    if not file.exists():
        rows, d = len(windows) * inside, found(0).shape[-1]
        _check_space(rows * d * 2)
        with whole(file) as opened:
            header = {"descr": "<f2", "fortran_order": False, "shape": (rows, d)}
            np.lib.format.write_array_header_1_0(opened, header)
            for at in range(0, len(windows), together):
                report("capturing activations", at * inside, rows)
                half = np.clip(found(at) * stored, -6e4, 6e4).astype("<f2")
                opened.write(half.tobytes())
    mapped = np.load(file, mmap_mode="r")
    norms = np.concatenate(
        [
            np.linalg.norm(mapped[i : i + _ROWS].astype(np.float32), axis=1)
            for i in range(0, len(mapped), _ROWS)
        ]
    )
    used = np.flatnonzero(norms <= SINK * np.median(norms))
    return Activations(mapped, used, _unit(mapped[used[:: max(1, len(used) >> 14)]]), stored)


def sinks(x: np.ndarray) -> np.ndarray:
    """Return which positions of a text's values [pos, d_in] are attention sinks, [pos] boolean.

    The first is, and every one whose norm is beyond ten medians of the others'.
    """
    norms = np.linalg.norm(x, axis=-1)
    found = norms > SINK * max(float(np.median(norms[1:])) if len(norms) > 1 else 0.0, 1e-30)
    found[0] = True
    return found


def _unit(rows: np.ndarray) -> float:
    """Return what makes the mean norm of rows [row, d_in] the root of d_in."""
    norms = np.linalg.norm(rows.astype(np.float32), axis=-1)
    return float(np.sqrt(rows.shape[-1]) / max(norms.mean(), 1e-30))


def _check_space(size: int) -> None:
    free = shutil.disk_usage(cache_dir("activations")).free
    if size + _SPARE > free:
        raise ParameterError(
            f"activations: they take {size / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free in the "
            "cache's folder; accepted: fewer, or another LENSBOOK_CACHE"
        )
