"""Pieces of figures: the theme, tokens, axes, marks. Knows numbers only, no model and no page."""

from interp_core.plot.axes import layer_axis, layer_name, rank_axis, x_axis, y_axis
from interp_core.plot.bands import lines, loss_curves, values_axis
from interp_core.plot.heads import PICK, head_cells, shown_layers
from interp_core.plot.heatmap import MAP, heat, rows_axis
from interp_core.plot.legends import below, gradient, legend, strokes
from interp_core.plot.passages import Passage, passages
from interp_core.plot.room import across, fit, holds, narrow
from interp_core.plot.scatters import scatter, side_labels
from interp_core.plot.titles import beside, ends, figure, layered, points, small, tip, top_of
from interp_core.plot.tokens import formed, label, shown, spaced

__all__ = [
    "MAP",
    "PICK",
    "Passage",
    "across",
    "below",
    "beside",
    "ends",
    "figure",
    "fit",
    "formed",
    "gradient",
    "head_cells",
    "heat",
    "holds",
    "label",
    "layer_axis",
    "layer_name",
    "layered",
    "legend",
    "lines",
    "loss_curves",
    "narrow",
    "passages",
    "points",
    "rank_axis",
    "rows_axis",
    "scatter",
    "shown",
    "shown_layers",
    "side_labels",
    "small",
    "spaced",
    "strokes",
    "tip",
    "top_of",
    "values_axis",
    "x_axis",
    "y_axis",
]
