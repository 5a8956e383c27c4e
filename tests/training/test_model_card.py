"""The model card: what the Hub reads is there, and what a reader copies from it runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from tests.training.test_bundle import CARD, tiny_model
from training.bundle import BundleCard, GenreWorth, write_bundle
from training.model_card import render_model_card

WORTH = GenreWorth(
    genre="Drama",
    test_posters=40,
    average_precision=0.61,
    low=0.5,
    high=0.7,
    prior_average_precision=0.52,
    precision=0.6,
    recall=0.7,
    calibration_error=0.04,
)
MEASURED = CARD.model_copy(
    update={
        "intervals": {"macro_map": (0.28, 0.34)},
        "prior_intervals": {"macro_map": (0.09, 0.11)},
        "genre_metrics": (WORTH,),
    }
)


def front_matter(card: BundleCard) -> dict:
    opening, front, _ = render_model_card(card).split("---\n", 2)
    assert opening == ""
    return yaml.safe_load(front)


def test_the_front_matter_is_what_the_hub_reads() -> None:
    front = front_matter(MEASURED)
    assert front["library_name"] == "keras"
    assert front["pipeline_tag"] == "image-classification"
    [model] = front["model-index"]
    assert model["name"] == "v1"
    [result] = model["results"]
    assert set(result) == {"task", "dataset", "metrics"}
    assert result["dataset"]["type"] == "d1"
    assert result["metrics"] == [{"type": "mean_average_precision", "name": "macro mAP", "value": 0.31}]
    assert front["metrics"] == ["mean_average_precision"]


def test_a_card_without_metrics_claims_none() -> None:
    card = CARD.model_copy(update={"metrics": {}, "prior_metrics": {}})
    assert "model-index" not in front_matter(card)
    assert "What it is worth" not in render_model_card(card)


def test_the_body_puts_each_figure_beside_the_priors_with_its_interval() -> None:
    text = render_model_card(MEASURED)
    assert "| macro mAP | 0.310 (0.280 to 0.340) | 0.100 (0.090 to 0.110) |" in text
    assert "| Drama | 0.400 | 0.610 (0.500 to 0.700) | 0.520 | 0.600 | 0.700 | 40 |" in text
    # Its interval reaches down to the prior.
    assert "In Drama the interval reaches down to the prior" in text
    for heading in ("How to use", "Intended use", "Limits", "Training data and lineage"):
        assert f"\n## {heading}\n" in text
    assert "| `dataset_id` | `d1` |" in text


def test_the_code_in_the_card_runs_in_a_process_that_knows_only_keras(tmp_path: Path) -> None:
    card = MEASURED.model_copy(update={"thresholds": (0.0, 1.0, 0.0)})
    write_bundle(tmp_path, tiny_model(), card)
    code = re.findall(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    Image.fromarray(np.full((30, 20, 3), 90, np.uint8)).save(tmp_path / "poster.jpg")
    only_keras = "import sys\n" + code[0] + "\nassert not {'training', 'cluster'} & set(sys.modules)\n"
    # -I: no folder of ours on the path.
    run = subprocess.run(
        [sys.executable, "-I", "-c", only_keras], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "['Comedy', 'Horror']"
