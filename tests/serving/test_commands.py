"""`onesheet predict` whole, and the checks with which `onesheet serve` begins."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cluster.cores import available_cores
from cluster.errors import ServingError
from cluster.settings import load_settings
from serving.app import ServeOptions
from serving.commands import predict, serve
from serving.endpoint import address, check_port, options_for
from tests.serving.conftest import Poster, Register
from training.registry import Registry, RegistryError

app = typer.Typer()
app.command()(serve)
app.command()(predict)


def run(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.stdout


@pytest.fixture
def posters(tmp_path: Path, poster: Poster) -> Path:
    (tmp_path / "red.jpg").write_bytes(poster("red"))
    (tmp_path / "blue.jpg").write_bytes(poster("blue"))
    (tmp_path / "text.jpg").write_bytes(b"no image")
    return tmp_path


def test_predict_tells_the_genres_of_the_production_model(
    registry: Registry, register: Register, posters: Path
) -> None:
    register("v1")
    registry.promote("v1")
    files = [str(posters / "red.jpg"), str(posters / "blue.jpg")]
    answer = json.loads(run("predict", *files, "--store", registry.store.url, "--top", "1", "--json"))
    assert answer["version"] == "v1"
    assert [(it["poster"], it["predicted"], len(it["genres"])) for it in answer["posters"]] == [
        (files[0], ["Red"], 1),
        (files[1], ["Blue"], 1),
    ]
    table = run("predict", *files, "--store", registry.store.url)
    assert "red.jpg" in table
    assert "98%" in table


def test_predict_names_each_bad_file_tells_the_others_and_exits_with_1(
    registry: Registry, register: Register, posters: Path
) -> None:
    register("v1")
    files = [str(posters / name) for name in ("text.jpg", "red.jpg", "missing.jpg")]
    out = run("predict", *files, "--store", registry.store.url, "--model", "latest", "--json", exit_code=1)
    text, red, missing = json.loads(out.splitlines()[-1])["posters"]
    assert text["error"]["reason"] == "not_an_image"
    assert red["predicted"] == ["Red"]
    assert missing["error"] == {"reason": "unreadable", "detail": "No such file or directory"}
    result = CliRunner().invoke(app, ["predict", *files, "--store", registry.store.url, "--model", "v1"])
    assert "text.jpg is refused (not_an_image)" in result.stderr
    assert "missing.jpg: No such file or directory" in result.stderr


def test_without_a_production_model_both_commands_say_what_to_do(registry: Registry, posters: Path) -> None:
    with pytest.raises(RegistryError, match="onesheet models promote VERSION"):
        run("predict", str(posters / "red.jpg"), "--store", registry.store.url)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RegistryError, match="onesheet models promote VERSION"):
        run("serve", "--store", registry.store.url, "--port", str(port))


def test_serve_says_that_the_port_is_in_use_before_it_starts_anything(registry: Registry) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=rf"port {port}: Address already in use; choose another with --port"):
            run("serve", "--port", str(port), "--store", registry.store.url)
    check_port("127.0.0.1", port)


def test_serve_refuses_an_address_of_another_machine() -> None:
    with pytest.raises(ServingError, match=r"cannot listen on 192\.0\.2\.1 port 8000"):
        check_port("192.0.2.1", 8000)


def test_serve_names_replica_limits_that_contradict(registry: Registry) -> None:
    with pytest.raises(ServingError, match=r"max_replicas \(2\) is below min_replicas \(3\)"):
        run("serve", "--min-replicas", "3", "--store", registry.store.url)


def test_replicas_have_a_core_for_each_of_their_threads_on_this_machine(registry: Registry) -> None:
    settings = load_settings(store=registry.store.url, ray_address="local")
    cores = available_cores()
    assert options_for(settings, min_replicas=1, max_replicas=1000, cpus_per_replica=1).max_replicas == cores
    assert options_for(settings, min_replicas=0, max_replicas=1, cpus_per_replica=cores).max_replicas == 1
    for least, each in ((0, cores + 1), (cores + 1, 1)):
        with pytest.raises(
            ServingError, match=rf"{max(1, least)} replica\(s\) of {each} CPUs do not fit .* has {cores}: "
        ):
            options_for(settings, min_replicas=least, max_replicas=1000, cpus_per_replica=each)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"store": "s", "max_replica": 3},
            r"^max_replica is no option of the application; it has store, ",
        ),
        ({}, r"^store is missing among the application's options$"),
        ({"store": "s", "max_pixels": "many"}, r"^max_pixels='many' is not valid: Input should be a valid integer"),
        ({"store": "s", "max_pixels": 0}, r"^max_pixels=0 is not valid: Input should be greater than 0$"),
        ({"store": "s", "trusted_proxies": ["10.0.0.0/33"]}, r"^trusted_proxies\.0='10\.0\.0\.0/33' is not valid: "),
        ({"store": "s", "rate_limit": "often"}, r"^the rate limit 'often' cannot be read; give one such as 100/minute"),
        ({"store": "s", "min_replicas": 3}, r"^max_replicas \(2\) is below min_replicas \(3\)$"),
        (
            {"store": "s", "canary_by": "moon"},
            r"^canary_by='moon' is not valid: Input should be 'request' or ",
        ),
    ],
)
def test_an_option_of_a_serve_file_that_will_not_do_is_one_sentence(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ServingError, match=sentence):
        ServeOptions.model_validate(wrong)


def test_the_shown_address_is_one_that_a_browser_reaches() -> None:
    assert address("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert address("::1", 80) == "http://[::1]:80"


@pytest.mark.parametrize("command", ["serve", "predict"])
def test_both_commands_show_examples_in_their_help(command: str) -> None:
    assert f"onesheet {command}" in run(command, "--help")
