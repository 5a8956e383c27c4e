"""A pipeline's file: what it may say, and the sentence for what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from cluster.pipeline.definition import Pipeline, PipelineError, as_arguments, check_options, read_pipeline
from onesheet import app

ROOT = typer.main.get_command(app)
HEAD = 'name = "nightly"\ncatalog = "films.csv"\n'


def read(folder: Path, text: str) -> Pipeline:
    path = folder / "pipeline.toml"
    path.write_text(text)
    found = read_pipeline(path)
    check_options(found, ROOT)
    return found


def test_the_example_is_a_pipeline(tmp_path: Path):
    from cluster.pipeline import command

    example = Path(command.__file__).with_name("example.toml").read_text()
    found = read(tmp_path, example)
    assert found.stages == ("crawl", "prepare", "train", "evaluate", "promote")


def test_options_become_words_of_a_command_line(tmp_path: Path):
    text = '[train]\nepochs = 3\nset = ["heads=2", "mirror=true"]\nfine_tune = true\n[prepare]\nsame-titles = false\n'
    found = read(tmp_path, HEAD + text)
    assert found.arguments("train") == ["--epochs=3", "--set=heads=2", "--set=mirror=true", "--fine-tune"]
    assert found.arguments("prepare") == ["--no-same-titles"]
    assert found.arguments("crawl") == []


def test_a_search_takes_the_place_of_the_training(tmp_path: Path):
    found = read(tmp_path, HEAD + "[tune]\ntrials = 20\n")
    assert found.learner == "tune"
    assert found.stages == ("crawl", "prepare", "tune", "evaluate", "promote")


def test_a_text_that_begins_with_a_dash_is_a_value():
    assert as_arguments({"space": "-x.toml"}) == ["--space=-x.toml"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('catalog = "films.csv"', 'pipeline.toml: name is missing; write name = "nightly"'),
        ('name = "nightly"', "catalog is missing"),
        ('name = "Nightly!"\ncatalog = "f"', "name 'Nightly!': use lower-case letters"),
        ('name = "n"\ncatalog = "-"', "needs a file or s3://bucket/key, not -"),
        ("name = ", "pipeline.toml is no TOML: "),
        (HEAD + "[tran]\nepochs = 3", "'tran' is not known; did you mean train?"),
        (HEAD + "[train]\n[tune]", "[train] and [tune] are two ways"),
        ("crawl = 3\n" + HEAD, "crawl: write [crawl] with options of `onesheet crawl` below it"),
        (HEAD + "[train]\nepoch = 3", "[train] epoch: `onesheet train` has no --epoch; did you mean epochs?"),
        (HEAD + "[train]\nepochs = 0.5", "[train] epochs = 0.5: Input should be a valid integer"),
        (HEAD + "[crawl]\nshards = 0", "[crawl] shards = 0: "),
        (HEAD + "[train]\nfine_tune = 3", "write true or false"),
        (HEAD + "[train]\nfine_tune = false", "that is so anyway; leave it out"),
        (HEAD + "[train]\nepochs = true", "write one value, as behind --epochs"),
        (HEAD + "[train]\nepochs = [1, 2]", "write one value, as behind --epochs"),
        (HEAD + "[train]\nset = [true]", "true and false stand alone"),
        (HEAD + "[train]\nset = {a = 1}", "write a text, a number, true, false, or a list"),
        (HEAD + '[prepare]\ncrawl = "other"', "the pipeline gives --crawl itself; leave it out"),
        (HEAD + "[promote]\nif_better = true", "the pipeline gives --if-better itself"),
        (HEAD + '[crawl]\nstore = "x"', "the pipeline gives --store itself"),
    ],
)
def test_what_is_no_pipeline_is_said_in_a_sentence(text: str, sentence: str, tmp_path: Path):
    with pytest.raises(PipelineError) as refused:
        read(tmp_path, text)
    assert sentence in str(refused.value)


def test_a_file_that_is_not_there_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(PipelineError, match=r"does not exist; make one: onesheet pipeline --example > p\.toml"):
        read_pipeline(tmp_path / "p.toml")
