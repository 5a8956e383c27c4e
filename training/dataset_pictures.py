"""Small pictures of posters for a page that needs nothing else: data URIs."""

from __future__ import annotations

import base64
import io

from PIL import Image

from cluster.errors import KeyNotFoundError
from cluster.store import Store
from crawler import images
from crawler.outcomes import Rejected
from crawler.titles import poster_key
from training.dataset_card import Card
from training.preprocessing import to_rgb

# Twice the size that the page shows it at, for screens of two pixels to the point.
_SIZE_PX = (176, 264)
_QUALITY = 72


def read_pictures(store: Store, card: Card) -> dict[str, str]:
    """imdb_id → data URI, for the samples of a card and the near-duplicates that it shows, as far as they are there."""
    wanted = [row["imdb_id"] for rows in card.samples.values() for row in rows]
    wanted += [imdb_id for group in card.near_duplicates["examples"] for imdb_id in group]
    found = {}
    for imdb_id in dict.fromkeys(wanted):
        try:
            data = store.get(poster_key(imdb_id))
        except KeyNotFoundError:
            continue
        image = images.decode(data, max_pixels=card.options["max_pixels"])
        if not isinstance(image, Rejected):
            found[imdb_id] = data_uri(image)
    return found


def data_uri(image: Image.Image) -> str:
    """A small JPEG of the image that stands in a page's text."""
    small = to_rgb(image)
    small.thumbnail(_SIZE_PX, Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    small.save(sink, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"
