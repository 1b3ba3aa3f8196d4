"""Find each latent of a dictionary in another, by its direction and by where it is active."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from interp_core.models.language_model import LanguageModel
from interp_core.papers.sparse_autoencoder.comparison import NEAR, Comparison
from interp_core.papers.sparse_autoencoder.compute.apply import Applied, applied
from interp_core.papers.sparse_autoencoder.compute.codes import Codes, codes, windows
from interp_core.papers.sparse_autoencoder.features import ENOUGH
from interp_core.papers.sparse_autoencoder.params import CompareParams
from interp_core.params import ParameterError
from interp_core.provenance import Recorder
from interp_core.runtime import report

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_ROWS = 512
"""Latents whose cosines and correlations are held at a time."""


def compare(model: LanguageModel, params: CompareParams) -> Comparison:
    """Read the text through both dictionaries and match their latents. On the compute thread only.

    Raises:
        ParameterError: When a dictionary does not fit the model, they are of different sites, or the text
            is too short.
    """
    found, other = applied(model, params.sae), _other(model, params.other)
    if other.site != found.site:
        raise ParameterError(
            f"other: it is of {other.site.part} of layer {other.site.layer}; accepted: a dictionary of "
            f"{found.site.part} of layer {found.site.layer}, as the one it is compared with"
        )
    cards = found.dictionary.card, other.dictionary.card
    itself = found.dictionary.sha256 == other.dictionary.sha256
    trained_on_it = [each for each in (found, other) if each.dictionary.card.corpus == params.text]
    with Recorder() as recorder:
        ids = windows(model, params, (trained_on_it or [found])[0])
        read, read_other = codes(model, found, ids), codes(model, other, ids)
        pairs = match(directions(found), directions(other), read, read_other, itself=itself)
    return Comparison(
        params=params,
        provenance=recorder.provenance(model.info, []),
        about=tuple(card.about for card in cards),
        itself=itself,
        positions=read.positions,
        density=read.density,
        **pairs,
    )


def match(
    here: np.ndarray, there: np.ndarray, read: Codes, read_other: Codes, *, itself: bool = False
) -> dict[str, Any]:
    """Return the latents of two dictionaries that belong together, as the fields of :class:`Comparison` have them.

    Args:
        here: Unit directions of one [latent, d_in].
        there: Of the other [other, d_in].
        read: Activations of one.
        read_other: Of the other, on the same windows.
        itself: Whether they are the same dictionary.
    """
    nearest, cosine, back, back_cosine = closest(here, there, itself=itself)
    partner, correlation = correlated(read, read_other, itself=itself)
    cosines = [cosine, closest(here, alike(there))[1]]
    correlations = [correlation, correlated(read, further(read_other))[1]]
    if not itself:
        cosines.append(closest(here, here, itself=True)[1])
        correlations.append(correlated(read, read, itself=True)[1])
    covers = np.full((3, len(there)), np.nan)
    if len(there) > len(here):
        like = closest(here, here, itself=True)[0]
        covers = covered(read, read_other, np.where(back_cosine >= NEAR, back, -1), like)
    elif len(here) > len(there):
        like = closest(there, there, itself=True)[0]
        covers = covered(read_other, read, np.where(cosine >= NEAR, nearest, -1), like)
    return {
        "nearest": nearest,
        "cosine": np.stack(cosines),
        "partner": partner,
        "correlation": np.stack(correlations),
        "back": back,
        "back_cosine": back_cosine,
        "covered": covers,
    }


def _other(model: LanguageModel, name: str) -> Applied:
    try:
        return applied(model, name)
    except ParameterError as error:  # it speaks of ``sae``, or of where dictionaries are kept
        raise ParameterError(f"other: {str(error).partition(': ')[2]}") from None


def directions(found: Applied) -> np.ndarray:
    """Return the decoder's directions, of length 1: [latent, d_in]."""
    return _unit(found.dictionary.weights["W_dec"].astype(np.float32))


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    return unit


def alike(rows: np.ndarray) -> np.ndarray:
    """Return as many random directions, normal with the mean and covariance of ``rows`` [latent, d_in].

    What all directions of a dictionary share is in them; what one of them has to itself is not.
    """
    values, vectors = np.linalg.eigh(np.cov(rows.T.astype(np.float64)))
    drawn = np.random.default_rng(0).normal(size=rows.shape) * np.sqrt(np.maximum(values, 0))
    return _unit((drawn @ vectors.T + rows.mean(0)).astype(np.float32))


def closest(
    here: np.ndarray, there: np.ndarray, *, itself: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return each direction's closest among the others and their cosine, then the same the other way.

    Args:
        here: Unit directions [latent, d_in].
        there: Unit directions [other, d_in].
        itself: Whether they are the same, each of which is then not compared with itself.
    """
    at, value = np.zeros(len(here), np.int64), np.full(len(here), -np.inf, np.float32)
    back, back_value = np.zeros(len(there), np.int64), np.full(len(there), -np.inf, np.float32)
    for part in _parts(len(here)):
        cosines = here[part] @ there.T
        if itself:
            cosines[np.arange(len(cosines)), np.arange(part.start, part.stop)] = -np.inf
        at[part], value[part] = cosines.argmax(1), cosines.max(1)
        above = cosines.max(0) > back_value
        back[above] = cosines[:, above].argmax(0) + part.start
        back_value[above] = cosines[:, above].max(0)
    return at, value, back, back_value


def correlated(read: Codes, other: Codes, *, itself: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the latent of the other dictionary that each one's activations correlate most with, and how much.

    Pearson's correlation over the positions of the same windows; -1 and NaN for latents that are active at
    fewer than :data:`ENOUGH` of them.
    """
    mine, theirs, n = _matrix(read), _matrix(other), read.positions
    (mean, spread), (other_mean, other_spread) = _moments(mine, n), _moments(theirs, n)
    partner, best = np.full(read.latents, -1, np.int64), np.full(read.latents, np.nan)
    active = np.flatnonzero(np.diff(read.starts) >= ENOUGH)
    alive = np.flatnonzero(other_spread > 0)
    if not len(alive):
        return partner, best
    for part in _parts(len(active)):
        rows = active[part]
        products = (mine[rows] @ theirs[alive].T).toarray() / n
        found = products - np.outer(mean[rows], other_mean[alive])
        found /= np.outer(spread[rows], other_spread[alive])
        if itself:
            found[rows[:, None] == alive[None]] = -np.inf
        partner[rows], best[rows] = alive[found.argmax(1)], found.max(1)
    return partner, best


def covered(narrow: Codes, wide: Codes, of: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return how much of where a latent is active those of a wider dictionary are that belong to it: [3, narrow].

    The share of its positions at which one of them is; at which one of those is that belong to the latent most like it;
    and the largest share of a single one. NaN where none belong to it, or it is active at fewer than :data:`ENOUGH`.

    Args:
        narrow: Activations of the narrower dictionary.
        wide: Of the wider one, on the same windows.
        of: [wide] which of the narrower's latents each belongs to; -1 for none.
        like: [narrow] which of the narrower's latents is most like each.
    """
    from scipy.sparse import csr_array

    there, active = (_matrix(each) > 0 for each in (narrow, wide))
    belonging = np.flatnonzero(of >= 0)
    shape, ones = (narrow.latents, wide.latents), np.ones(len(belonging))
    owns = csr_array((ones, (of[belonging], belonging)), shape)
    size = there.sum(1)
    kept = (owns.sum(1) > 0) & (size >= ENOUGH)
    any_of = owns @ active.astype(float) > 0
    single = (there.astype(float) @ active.astype(float).T).multiply(owns).max(1).toarray().ravel()
    counts = there.multiply(any_of).sum(1), there.multiply(any_of[like]).sum(1), single
    found = np.full((3, narrow.latents), np.nan)
    found[:, kept] = np.stack(counts)[:, kept] / size[kept]
    return found


def further(read: Codes) -> Codes:
    """Return activations at the same place of the next window, so that they belong to other text."""
    place = (read.place + read.ids.shape[1]) % read.ids.size
    return dataclasses.replace(read, place=place)


def _matrix(read: Codes) -> csr_array:
    """Return activations as a sparse matrix [latent, position]."""
    from scipy.sparse import csr_array  # slow to import, and needed here alone

    return csr_array((read.value, (read.feature, read.place)), (read.latents, read.ids.size))


def _moments(matrix: csr_array, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's mean and standard deviation over ``n`` positions."""
    mean = matrix.sum(1) / n
    return mean, np.sqrt(np.maximum(matrix.power(2).sum(1) / n - mean**2, 0))


def _parts(n: int) -> Iterator[slice]:
    for start in range(0, n, _ROWS):
        report("comparing latents", start, n)
        yield slice(start, min(start + _ROWS, n))
