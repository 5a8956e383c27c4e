"""Small pictures of the posters in the store, for whoever may show them: drawn anew, never the stored bytes."""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image

from cluster.store import Store
from crawler.images import decode
from crawler.outcomes import Rejected
from crawler.titles import poster_key
from training.preprocessing import to_rgb

# What a grid shows on a screen of two pixels a point.
_SIZE_PX = (240, 360)
_QUALITY = 82
# Of some 15 KB each.
_KEPT = 1024


class Thumbnails:
    """JPEGs of at most 240 x 360 px; the last ones asked for are kept. Safe to call from several threads."""

    def __init__(self, store: Store, *, max_bytes: int, max_pixels: int) -> None:
        """max_bytes, max_pixels: of a stored poster; a larger one is never decoded."""
        self._store, self._max_bytes, self._max_pixels = store, max_bytes, max_pixels
        self.get = lru_cache(_KEPT)(self._drawn)

    def _drawn(self, imdb_id: str) -> bytes | None:
        """The JPEG, or None for what cannot be shown. Raises KeyNotFoundError for a poster that is not there."""
        data = self._store.get(poster_key(imdb_id))
        if len(data) > self._max_bytes:
            return None
        image = decode(data, max_pixels=self._max_pixels)
        if isinstance(image, Rejected):
            return None
        poster = to_rgb(image)
        poster.thumbnail(_SIZE_PX, Image.Resampling.LANCZOS, reducing_gap=3.0)
        sink = io.BytesIO()
        # A new picture: to_rgb may have given the very one that was read, with its metadata.
        Image.frombytes("RGB", poster.size, poster.tobytes()).save(sink, "JPEG", quality=_QUALITY, optimize=True)
        return sink.getvalue()
