"""Pure: a bundle's README.md, which is a model card (Mitchell et al. 2019) in Hugging Face's format.

The front matter is what the Hub reads: https://huggingface.co/docs/hub/model-cards. Uploaded as it is, the folder is
a model repository, with its metrics listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml

from training.bundle import MODEL_FILE, BundleCard, GenreWorth

_NONE = "\u2013"
# Our name → how the Hub calls such a metric, and how people do.
METRIC_NAMES = {
    "macro_map": ("mean_average_precision", "macro mAP"),
    "micro_ap": ("average_precision", "micro average precision"),
    "micro_f1": ("f1", "micro F1"),
    "macro_f1": ("f1", "macro F1"),
    "sample_f1": ("f1", "sample F1"),
    "top1_hit": ("top_k_accuracy", "top-1 hit rate"),
    "top3_hit": ("top_k_accuracy", "top-3 hit rate"),
    "top5_hit": ("top_k_accuracy", "top-5 hit rate"),
    "exact_match": ("exact_match", "exact match"),
    "binary_accuracy": ("accuracy", "binary accuracy"),
    "cross_entropy": ("binary_cross_entropy", "binary cross-entropy"),
    "calibration_error": ("expected_calibration_error", "calibration error"),
}


def render_model_card(card: BundleCard) -> str:
    """The README.md of a bundle: front matter and Markdown."""
    front = yaml.safe_dump(_front_matter(card), sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n\n" + "\n".join(_body(card))


def spoken_metric(name: str) -> str:
    """`macro mAP` from `macro_map`."""
    return METRIC_NAMES[name][1] if name in METRIC_NAMES else name.replace("_", " ")


def _front_matter(card: BundleCard) -> dict[str, Any]:
    front: dict[str, Any] = {
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["keras", "tensorflow", "multi-label-classification", "movie-posters", "movie-genres", "onesheet"],
    }
    if not card.metrics:
        return front
    kinds = {name: METRIC_NAMES.get(name, (name, ""))[0] for name in card.metrics}
    front["metrics"] = list(dict.fromkeys(kinds.values()))
    front["model-index"] = [
        {
            "name": card.version,
            "results": [
                {
                    "task": {"type": "image-classification", "name": "movie genres of a poster (multi-label)"},
                    "dataset": {
                        "type": str(card.lineage.get("dataset_id") or "movie-posters"),
                        "name": f"movie posters, onesheet dataset {card.lineage.get('dataset_id') or 'unknown'}",
                        "split": "test",
                    },
                    "metrics": [
                        {"type": kinds[name], "name": spoken_metric(name), "value": round(value, 4)}
                        for name, value in card.metrics.items()
                    ],
                }
            ],
        }
    ]
    return front


def _body(card: BundleCard) -> Iterator[str]:
    yield f"# {card.version}\n"
    yield (
        f"Reads a movie's genres from its poster: a score from 0 to 1 for each of {len(card.genres)} genres, of which "
        f"a poster may have several. Architecture `{card.architecture}`, {card.height_px} x {card.width_px} px "
        f"(height x width), trained with onesheet on {card.created_at:%Y-%m-%d}.\n"
    )
    yield "## How to use\n"
    yield _use(card)
    if card.metrics:
        yield "## What it is worth\n"
        yield from _worth(card)
    yield "## Genres and thresholds\n"
    yield from _genres(card)
    yield "## Intended use\n"
    yield (
        "To suggest genres for a poster, to sort or search a collection of posters, and as a baseline for research on "
        "multi-label image classification. A person should look at a suggestion before it enters a catalogue.\n"
    )
    yield "## Limits\n"
    yield from _limits(card)
    yield "## Training data and lineage\n"
    yield from _lineage(card)


def _use(card: BundleCard) -> str:
    genres = ", ".join(repr(genre) for genre in card.genres)
    thresholds = ", ".join(f"{threshold:.4f}" for threshold in card.thresholds)
    return (
        "Keras 3 alone opens it; nothing of onesheet is needed, and no code of the file runs:\n\n"
        "```python\n"
        "import keras\n\n"
        f'model = keras.saving.load_model("{MODEL_FILE}", compile=False)\n'
        f'poster = keras.utils.load_img("poster.jpg", target_size=({card.height_px}, {card.width_px}), '
        'interpolation="bilinear")\n'
        "scores = model.predict(keras.utils.img_to_array(poster)[None])[0]\n"
        f"genres = [{genres}]\n"
        f"thresholds = [{thresholds}]\n"
        "print([genre for genre, score, least in zip(genres, scores, thresholds) if score >= least])\n"
        "```\n\n"
        "The input is RGB from 0 to 255; the scaling is part of the model. onesheet itself resizes with Pillow's "
        "antialiased bilinear filter, which is what the figures below were measured with.\n"
    )


def _worth(card: BundleCard) -> Iterator[str]:
    yield (
        "On the test split, whose posters were neither trained nor tuned on. The prior baseline says the genre "
        "frequencies of the train split for every poster, without looking at it; what is not above it is worth nothing."
        + (" In brackets: 95% bootstrap intervals over posters." if card.intervals else "")
        + "\n"
    )
    rows = [
        [
            spoken_metric(name),
            _with_interval(value, card.intervals.get(name)),
            _with_interval(card.prior_metrics.get(name), card.prior_intervals.get(name)),
        ]
        for name, value in card.metrics.items()
    ]
    yield from _table(["metric", "model", "prior baseline"], rows)
    yield (
        "Of cross-entropy and calibration error, less is better. Macro F1 is at the thresholds below, micro and sample "
        "F1 and exact match at one threshold for all genres, both tuned on validation; binary accuracy is at 0.5, and "
        "high for whoever says no to everything.\n"
    )


def _genres(card: BundleCard) -> Iterator[str]:
    yield "A score at or above its threshold means that the genre is predicted.\n"
    if not card.genre_metrics:
        rows = [[genre, f"{cut:.3f}"] for genre, cut in zip(card.genres, card.thresholds, strict=True)]
        yield from _table(["genre", "threshold"], rows)
        return
    worth = {row.genre: row for row in card.genre_metrics}
    head = ["genre", "threshold", "average precision", "prior", "precision", "recall", "test posters"]
    rows = [
        [genre, f"{cut:.3f}", *_genre_cells(worth.get(genre))]
        for genre, cut in zip(card.genres, card.thresholds, strict=True)
    ]
    yield from _table(head, rows)


def _genre_cells(row: GenreWorth | None) -> list[str]:
    if row is None:
        return [_NONE] * 5
    span = (row.low, row.high) if row.low is not None and row.high is not None else None
    return [
        _with_interval(row.average_precision, span),
        _figure(row.prior_average_precision),
        _figure(row.precision),
        _figure(row.recall),
        f"{row.test_posters:,}",
    ]


def _limits(card: BundleCard) -> Iterator[str]:
    yield (
        "- A poster advertises; it need not show what a movie is. Many genres cannot be told from it, by anyone.\n"
        "- The labels are a catalogue's genres. They follow its editors' habits, and so does the model.\n"
        "- It knows nothing outside its genres, scores any picture, poster or not, and learned from posters of "
        "the times and countries of its catalogue.\n"
        "- Posters show people. A score says how posters of a genre tend to look, and nothing about who is on one.\n"
        "- A score is no certainty: see the calibration error, and the precision of each genre at its threshold."
    )
    weak = [row.genre for row in card.genre_metrics if _is_weak(row)]
    if weak:
        yield (
            f"- In {', '.join(weak)} the interval reaches down to the prior: there it is not known to be better than "
            "guessing."
        )
    yield ""


def _is_weak(row: GenreWorth) -> bool:
    return row.low is not None and row.prior_average_precision is not None and row.low <= row.prior_average_precision


def _lineage(card: BundleCard) -> Iterator[str]:
    yield (
        "Posters harvested and labelled by a catalogue, cleaned and split by onesheet. The posters belong to their "
        "owners; none is part of this bundle.\n"
    )
    facts = {name: value for name, value in card.lineage.items() if value is not None}
    facts |= {"architecture": card.architecture, "created_at": card.created_at.isoformat(timespec="seconds")}
    yield from _table(["fact", "value"], [[f"`{name}`", f"`{_cell(str(value))}`"] for name, value in facts.items()])


def _with_interval(value: float | None, span: tuple[float, float] | None) -> str:
    return _figure(value) + (f" ({span[0]:.3f} to {span[1]:.3f})" if value is not None and span else "")


def _figure(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("`", "'").replace("\n", " ")
