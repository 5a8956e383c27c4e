"""The learning curves of a run, as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any


def draw_curves(history: Sequence[dict[str, Any]], *, title: str, score: str, prior: float) -> bytes:
    """PNG of the loss and the validation score by epoch.

    history: a row an epoch with "epoch", "loss" and `score`. prior: the score of the prior baseline, drawn as a line.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    epochs = [row["epoch"] for row in history]
    scores = [row[score] for row in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [row["loss"] for row in history], color="#555555", marker=".", markersize=4)
    left.set_title("training loss", loc="left", fontsize=9)
    right.plot(epochs, scores, color="#1f6feb", marker=".", markersize=4)
    right.axhline(prior, color="#999999", linewidth=1, linestyle="--")
    right.annotate("prior", (epochs[0], prior), textcoords="offset points", xytext=(2, 3), fontsize=8, color="#777777")
    best = max(range(len(scores)), key=scores.__getitem__)
    right.plot(epochs[best], scores[best], "o", color="#1f6feb", markersize=6)
    right.annotate(
        f"{scores[best]:.3f}", (epochs[best], scores[best]), textcoords="offset points", xytext=(0, 6), fontsize=8
    )
    right.set_ylim(bottom=0, top=max(*scores, prior) * 1.15)
    right.set_title("validation macro mAP", loc="left", fontsize=9)
    for axes in (left, right):
        axes.set_xlabel("epoch", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=130)
    return sink.getvalue()
