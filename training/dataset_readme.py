"""Pure: a dataset's card as the README of a dataset on the Hugging Face Hub: its folder uploads as it is."""

from __future__ import annotations

from crawler.report_words import share, size
from training.dataset_card import Card
from training.splits import SPLITS

# The Hub's own steps.
_SIZES = (
    *((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")),
    *((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M")),
)


def render_readme(card: Card) -> str:
    """Front matter in the Hub's format, and what a reader of the dataset should know."""
    total = sum(card.posters.values())
    return f"""---
pretty_name: Movie posters with genres ({card.dataset_id})
task_categories:
- image-classification
task_ids:
- multi-label-image-classification
size_categories:
- {next((name for most, name in _SIZES if total < most), "100M<n<1B")}
license: other
license_name: posters-belong-to-their-owners
tags:
- movie-posters
- multi-label
- onesheet
configs:
- config_name: default
  default: true
  data_files:
{_files(card)}
dataset_info:
  features:
  - name: imdb_id
    dtype: string
  - name: title
    dtype: string
  - name: year
    dtype: int16
  - name: genres
    list: string
  - name: image
    dtype: image
---

# {card.dataset_id}

{total:,} movie posters ({size(card.sizes["total_bytes"])}) with {len(card.genres)} genres, made by `onesheet prepare`
from the crawl `{card.crawl_id}`.

```python
from datasets import load_dataset

posters = load_dataset("parquet", data_files={{"train": "train/*.parquet", "test": "test/*.parquet"}})
posters["train"][0]["image"], posters["train"][0]["genres"]
```

`pandas.read_parquet("train/00000.parquet")` gives the same rows, the encoded picture in `image["bytes"]`.

| column | what |
|---|---|
| `imdb_id` | the title |
| `title`, `year` | as the catalogue has them, else as the title page has |
| `genres` | those of the vocabulary below, in alphabetical order |
| `image` | a JPEG, at most {card.options["max_height_px"]} px high, its aspect kept |

`splits.parquet` has each labelled title's split and group of near-duplicates, `dropped.parquet` each title that is in
no split and why, `card.json` all of this page as data, and `card.html` shows it with pictures.

## Splits

{_split_words(card)}

| genre | {" | ".join(SPLITS)} |
|---|{"---:|" * len(SPLITS)}
{_genre_rows(card)}

## What was left out

| step | titles |
|---|---:|
{_rows(card.funnel)}

| left out because | titles |
|---|---:|
{_rows(card.dropped)}

## Rights and limits

Posters belong to their owners: check what you may do with them before you share them. Genres are the catalogue's, made
for films and not for posters: a poster need not show them.
"""


def _files(card: Card) -> str:
    return "\n".join(f"  - split: {split}\n    path: {split}/*.parquet" for split in SPLITS if card.shards[split])


def _split_words(card: Card) -> str:
    near = card.near_duplicates
    if card.options["split"] == "given":
        leaks = near["on_several_sides"]
        return f"The split was given. {leaks:,} groups of near-duplicates are on more than one side of it."
    return (
        "Multi-label iterative stratification over groups: posters whose perceptual hashes differ in at most "
        f"{near['distance']} of 64 bits{', and titles that read the same,' if card.options['same_titles'] else ''} "
        f"are on one side ({near['posters_in_them']:,} posters in {near['groups_of_several']:,} groups of several)."
    )


def _genre_rows(card: Card) -> str:
    rows = [("posters", {split: f"{card.posters[split]:,}" for split in SPLITS})]
    for genre in card.genres:
        counts = {split: card.genre_counts[split][genre] for split in SPLITS}
        rows.append(
            (genre, {split: f"{counts[split]:,} ({share(counts[split], card.posters[split])})" for split in SPLITS})
        )
    return "\n".join(f"| {name} | {' | '.join(cells[split] for split in SPLITS)} |" for name, cells in rows)


def _rows(counts: dict[str, int]) -> str:
    return "\n".join(f"| {name} | {count:,} |" for name, count in counts.items())
