"""Pure: an explanation as a picture."""

from __future__ import annotations

import base64
from typing import Literal

import numpy as np
from PIL import Image

from crawler.outcomes import Rejected
from serving.answers import ExplanationAnswer
from serving.predictor import Explanation, Predictor
from training.shading import png, shade, shaded

Picture = Literal["overlay", "layer", "map", "poster"]
# A poster as it is looked at; what is larger only takes longer to send.
_MAX_OVERLAY_PX = 900
# A heat map has no finer detail.
_LAYER_PX = 96


def explained(predictor: Predictor, data: object, genre: str | None, picture: Picture) -> ExplanationAnswer | None:
    """The explanation of a poster that was scored, as an answer has it; None for what is no poster."""
    explanation = predictor.explain(data, genre) if isinstance(data, bytes) else None
    if explanation is None or isinstance(explanation, Rejected):
        return None
    return ExplanationAnswer(
        genre=explanation.genre.genre,
        score=round(explanation.genre.score, 6),
        png=base64.b64encode(drawn(explanation, picture)).decode(),
    )


def drawn(explanation: Explanation, picture: Picture) -> bytes:
    """The picture as a PNG: of an overlay or the bare poster no side is longer than 900 px, a layer has its aspect."""
    if picture == "map":
        return png(Image.fromarray(np.round(explanation.heat * 255).astype(np.uint8)))
    if picture == "layer":
        return png(shade(explanation.heat, _fitted(explanation.poster.size, _LAYER_PX)))
    size = _fitted(explanation.poster.size, min(_MAX_OVERLAY_PX, max(explanation.poster.size)))
    poster = explanation.poster.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return png(poster if picture == "poster" else shaded(poster, explanation.heat))


def _fitted(size: tuple[int, int], longest_px: int) -> tuple[int, int]:
    """The same aspect ratio with the longer side of so many pixels."""
    scale = longest_px / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
