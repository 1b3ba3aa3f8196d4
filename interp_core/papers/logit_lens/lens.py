"""The logit lens of one prompt, as numbers and strings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import pandas as pd

from interp_core.papers.logit_lens.params import Params
from interp_core.results import Provenance, Result


@dataclass(frozen=True, eq=False)
class LogitLens(Result):
    """Next-token distributions read from the residual stream (nostalgebraist, 2020)."""

    params: Params
    provenance: Provenance
    tokens: tuple[str, ...]
    """Every token of the prompt, as it stands in the text."""
    vocabulary: dict[int, str]
    """The text of every token id that the result mentions."""
    layers: Annotated[np.ndarray, "layer"]
    """Blocks read; -1 is the embedding."""
    positions: Annotated[np.ndarray, "position"]
    """Of the prompt, those read."""
    watched: Annotated[np.ndarray, "watched?"]
    """[watch] ids of the watched tokens."""
    final_top: Annotated[np.ndarray, "position"]
    """The model's own most likely next token."""
    final_probs: Annotated[np.ndarray, "position"]
    """Its probability."""
    next_ids: Annotated[np.ndarray, "position"]
    """The token that follows in the prompt; -1 at its end."""
    top_ids: Annotated[np.ndarray, "layer position k"]
    """Most likely tokens, likeliest first."""
    top_probs: Annotated[np.ndarray, "layer position k"]
    """Their probabilities."""
    entropy: Annotated[np.ndarray, "layer position"]
    """In nats."""
    kl: Annotated[np.ndarray, "layer position"]
    """KL(final || layer) in nats."""
    rank: Annotated[np.ndarray, "layer position target"]
    """Rank (0 is the likeliest) of the final top token, the actual next
    token, and the watched tokens."""
    log_prob: Annotated[np.ndarray, "layer position target"]
    """Natural log of their probabilities."""
    attribution: Annotated[np.ndarray, "followed component position"]
    """[target, component, position] direct logit attribution to the final top token and the watched
    tokens, of: embedding, attention 0, MLP 0, attention 1, ..., final norm's bias."""
    attribution_logit: Annotated[np.ndarray, "followed position"]
    """[target, position] the logits that the components add up to, before any soft-cap."""

    @cached_property
    def crystallised(self) -> np.ndarray:
        """[position] the first layer read from which the final top token stays on top.

        NaN where it is not on top at the last layer read.
        """
        agrees = self.rank[:, :, 0] == 0
        stays = np.flip(np.logical_and.accumulate(np.flip(agrees, 0), axis=0), 0)
        first = self.layers[stays.argmax(0)].astype(float)
        return np.where(stays.any(0), first, np.nan)

    def cell(self, layer: int | None, position: int | None) -> tuple[int, int]:
        """Return a layer and a position that were read: those given, or the last."""
        layers, positions = self.layers.tolist(), self.positions.tolist()
        return (
            layer if layer is not None and layer in layers else layers[-1],
            position if position is not None and position in positions else positions[-1],
        )

    def tables(self) -> dict[str, pd.DataFrame]:
        """``grid``, ``cells``, ``tokens``, ``watched``, ``attribution``, ``layers``."""
        return {
            "grid": self._grid(),
            "cells": self._cells,
            "tokens": self._tokens(),
            "watched": self._watched(),
            "attribution": self._attribution(),
            "layers": self._layers(),
        }

    @cached_property
    def _cells(self) -> pd.DataFrame:
        """One row per layer and position: the top token and every statistic."""
        layer, position = self._index()
        known = np.broadcast_to(self.next_ids >= 0, self.kl.shape)
        probability = np.exp(self.log_prob)
        return pd.DataFrame(
            {
                "layer": layer.ravel(),
                "position": position.ravel(),
                "input": [self.tokens[p] for p in position.ravel()],
                "top": [self.vocabulary[i] for i in self.top_ids[:, :, 0].ravel()],
                "top_probability": self.top_probs[:, :, 0].ravel(),
                "entropy": self.entropy.ravel(),
                "kl": self.kl.ravel(),
                "final_rank": self.rank[:, :, 0].ravel(),
                "final_probability": probability[:, :, 0].ravel(),
                "agrees": (self.rank[:, :, 0] == 0).ravel(),
                "next_rank": pd.array(
                    np.where(known, self.rank[:, :, 1], -1).ravel(), "Int64"
                ).to_numpy(float, na_value=np.nan),
                "next_probability": np.where(known, probability[:, :, 1], np.nan).ravel(),
                "cross_entropy": np.where(known, -self.log_prob[:, :, 1], np.nan).ravel(),
            }
        ).assign(next_rank=lambda f: f["next_rank"].where(f["next_rank"] >= 0))

    def _grid(self) -> pd.DataFrame:
        """One row per layer, position and rank; the cell's statistics repeat on each."""
        k = self.top_ids.shape[2]
        cells = self._cells
        grid = cells.loc[cells.index.repeat(k)].reset_index(drop=True)
        grid.insert(2, "rank", np.tile(np.arange(k), len(cells)))
        grid.insert(3, "token", [self.vocabulary[i] for i in self.top_ids.ravel()])
        grid.insert(4, "token_id", self.top_ids.ravel())
        grid.insert(5, "probability", self.top_probs.ravel())
        return grid

    def _tokens(self) -> pd.DataFrame:
        """One row per position read: what stands there, what comes next, what the model says."""
        following = [self.vocabulary[i] if i >= 0 else None for i in self.next_ids]
        return pd.DataFrame(
            {
                "position": self.positions,
                "token": [self.tokens[p] for p in self.positions],
                "token_id": [self.provenance.token_ids[p] for p in self.positions],
                "next": following,
                "final": [self.vocabulary[i] for i in self.final_top],
                "crystallisation_layer": self.crystallised,
            }
        )

    def _watched(self) -> pd.DataFrame:
        """One row per followed token, layer and position."""
        layer, position = self._index()
        names = [("final top", 0), ("actual next", 1)]
        names += [(self.vocabulary[int(i)], 2 + n) for n, i in enumerate(self.watched)]
        tables = []
        for name, target in names:
            table = pd.DataFrame(
                {
                    "target": name,
                    "layer": layer.ravel(),
                    "position": position.ravel(),
                    "rank": self.rank[:, :, target].ravel(),
                    "probability": np.exp(self.log_prob[:, :, target]).ravel(),
                }
            )
            if target == 1:
                table = table[np.broadcast_to(self.next_ids >= 0, self.kl.shape).ravel()]
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def _attribution(self) -> pd.DataFrame:
        """One row per target, component and position: its share of the target's logit."""
        targets, components, positions = self.attribution.shape
        n_layers = (components - 2) // 2
        kinds = ["embedding", *["attention", "MLP"] * n_layers, "norm bias"]
        layers = [-1, *np.repeat(np.arange(n_layers), 2), n_layers]
        names = [[self.vocabulary[int(i)] for i in self.final_top]]
        names += [[self.vocabulary[int(i)]] * positions for i in self.watched]
        return pd.DataFrame(
            {
                "target": np.repeat(
                    ["final top", *(self.vocabulary[int(i)] for i in self.watched)],
                    components * positions,
                ),
                "token": [
                    names[t][p] for t in range(targets) for _ in kinds for p in range(positions)
                ],
                "position": np.tile(self.positions, targets * components),
                "component": np.tile(np.repeat(kinds, positions), targets),
                "layer": np.tile(np.repeat(layers, positions), targets),
                "logit": self.attribution.ravel(),
            }
        )

    def _layers(self) -> pd.DataFrame:
        """One row per layer: means over the positions that averages include."""
        cells = self._cells[self._cells["position"] >= self.params.skip_first]
        return (
            cells.groupby("layer", sort=True)
            .agg(
                kl=("kl", "mean"),
                entropy=("entropy", "mean"),
                cross_entropy=("cross_entropy", "mean"),
                agreement=("agrees", "mean"),
                median_rank=("final_rank", "median"),
                positions=("position", "size"),
            )
            .reset_index()
        )

    def _index(self) -> tuple[np.ndarray, np.ndarray]:
        return np.meshgrid(self.layers, self.positions, indexing="ij")

    @property
    def summary(self) -> dict[str, Any]:
        """What the model says at the last position read, and where it made up its mind."""
        settled = self.crystallised[-1]
        return {
            "position": int(self.positions[-1]),
            "token": self.tokens[self.positions[-1]],
            "final_token": self.vocabulary[int(self.final_top[-1])],
            "final_token_id": int(self.final_top[-1]),
            "final_probability": float(self.final_probs[-1]),
            "crystallisation_layer": None if np.isnan(settled) else int(settled),
            "n_layers": self.provenance.model.n_layers,
            "n_tokens": len(self.tokens),
        }
