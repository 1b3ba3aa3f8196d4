"""What was measured of which dictionaries, and ships."""

from __future__ import annotations

import dataclasses
from typing import Any

from interp_core.models.bundled import ONE_LAYER
from interp_core.models.info import SECOND, UNTRAINED_ONE_LAYER
from interp_core.papers.sparse_autoencoder.params import (
    CompareParams,
    EvaluateParams,
    FeatureParams,
    FeaturesParams,
    SteerParams,
    TrainParams,
)

FIRST = (2045, 1346, 1226, 1570, 1764)
"""The first features of the gallery of the default model's dictionary that ships."""

STEERED = SteerParams(feature=1402, strength=1.0)
"""A continuation with the feature of *this*; it ships."""

SMALL_TRAINING = TrainParams(
    model=ONE_LAYER,
    site="mlp_post",
    architecture="standard",
    width=8,
    l1=(0.002, 0.005, 0.012),
    tokens=1_000_000,
    activations=400_000,
)
"""Dictionaries of the paper's model, small; the one of at most 20 active latents ships."""

SMALL: dict[str, Any] = {"model": ONE_LAYER, "windows": 216}
_GALLERY = (2791, 2828, 113, 685, 4004, 2574, 2149, 237, 1112, 2132)
SMALL_FEATURES = tuple(FeatureParams(**SMALL, feature=n) for n in _GALLERY)
"""The gallery of the one-layer model's features, as its rule has it (:attr:`Features.gallery`)."""

NARROW_TRAINING = dataclasses.replace(SMALL_TRAINING, width=2, l1=(0.012,))
"""A dictionary of a quarter of the features, trained alike."""

ANOTHER_SEED = CompareParams(**SMALL, other="6e66b98dd3f7361c")
"""The one-layer model's dictionary beside one that was trained as it was, but for the seed (1)."""
ANOTHER_WIDTH = CompareParams(**SMALL, other="bcb4ea3621914135")
"""And beside :data:`NARROW_TRAINING`'s. Both of these ship, too."""

UNTRAINED_TRAINING = dataclasses.replace(
    SMALL_TRAINING, model=UNTRAINED_ONE_LAYER, l1=(0.005, 0.012, 0.03)
)
"""Dictionaries of the same architecture with weights drawn at random; one ships, chosen as :data:`SMALL_TRAINING`'s."""
UNTRAINED_FEATURES = FeaturesParams(**SMALL | {"model": UNTRAINED_ONE_LAYER})
"""What was measured of it."""

SECOND_TRAINING = TrainParams(model=SECOND)
"""A dictionary of the second model's middle layer. It does not ship, as the model's terms extend to what is made of it."""

_SECOND: dict[str, Any] = {"model": SECOND, "sae": "a184e72ea28bac03"}
SECOND_MEASURED = (
    EvaluateParams(**_SECOND),
    EvaluateParams(**_SECOND, text="prose"),
    FeaturesParams(**_SECOND),
)
"""What was measured of it."""
