"""The `ray up` cluster by Ray's own checks, and the bucket's policy by a server that enforces it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import boto3
import httpx
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts import scripts

from cluster.errors import StoreError
from cluster.settings import Settings
from cluster.store import open_store
from tests.conftest import ROOT
from tests.fixtures_s3 import fresh_bucket
from tests.s3_servers import S3Server, moto

FOLDER = ROOT / "infra" / "aws"


@pytest.fixture
def config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "cluster.yaml").read_text(encoding="utf-8"))
    return found


def test_ray_finds_nothing_wrong_with_the_cluster(config: dict[str, Any]):
    whole = prepare_config(config)
    validate_config(whole)
    whole["available_node_types"]["crawler"]["max_worker"] = 3
    with pytest.raises(Exception, match="max_worker"):
        validate_config(whole)


def test_crawlers_and_trainers_come_and_go_on_spot_nodes_and_the_head_stays(config: dict[str, Any]):
    types = config["available_node_types"]
    for name in ("crawler", "trainer"):
        assert types[name]["min_workers"] == 0
        assert types[name]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in types[config["head_node_type"]]["node_config"]
    assert types["trainer"]["docker"]["worker_image"].endswith(":gpu")
    assert sum(types[name]["max_workers"] for name in ("crawler", "trainer")) <= config["max_workers"]


def test_ray_would_take_the_nodes_commands(config: dict[str, Any]):
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        stop, start = config[name]
        assert stop == "ray stop"
        variable, program, subcommand, *options = start.split()
        assert (variable, program, subcommand) == ("RAY_AUTH_MODE=token", "ray", "start")
        scripts.start.make_context("start", options, resilient_parsing=True)


def test_every_setting_is_one_of_ours_and_none_is_a_secret(config: dict[str, Any]):
    given = [option.removeprefix("--env ").split("=")[0] for option in config["docker"]["run_options"]]
    ours = {name.removeprefix("ONESHEET_").lower() for name in given if name.startswith("ONESHEET_")}
    assert ours
    assert ours <= Settings.model_fields.keys()
    assert not [name for name in given if "SECRET" in name or "TOKEN" in name or "KEY" in name]


@pytest.mark.slow
def test_the_bucket_policy_lets_a_node_do_its_work_and_nothing_else(monkeypatch: pytest.MonkeyPatch):
    with moto() as server:
        bucket = fresh_bucket(server, monkeypatch).removeprefix("s3://")
        policy = (FOLDER / "bucket-policy.json").read_text(encoding="utf-8").replace(":::bucket", f":::{bucket}")
        put = boto3.client("s3").put_object
        put(Bucket=bucket, Key="other/a", Body=b"not ours")
        become(server, policy, monkeypatch)
        store = open_store(f"s3://{bucket}/onesheet")
        store.check()
        store.put("posters/tt0000001.jpg", b"poster")
        assert store.get("posters/tt0000001.jpg") == b"poster"
        assert list(store.list("posters/")) == ["posters/tt0000001.jpg"]
        assert store.exists("posters/tt0000001.jpg")
        checkpoint(store, b"x" * (12 << 20))
        store.delete("posters/tt0000001.jpg")
        with pytest.raises(StoreError):
            open_store(f"s3://{bucket}/other").get("a")
        with pytest.raises(StoreError):
            open_store(f"s3://{bucket}/other").put("b", b"")
        for action in (
            lambda: boto3.client("s3").delete_bucket(Bucket=bucket),
            lambda: boto3.client("s3").create_bucket(Bucket=f"{bucket}-2"),
            lambda: boto3.client("s3").delete_object(Bucket=bucket, Key="other/a"),
            lambda: boto3.client("s3").list_buckets(),
        ):
            with pytest.raises(Exception, match=r"AccessDenied|Forbidden|403"):
                action()


def checkpoint(store: Any, data: bytes) -> None:
    """As Ray Train writes one: in parts, through pyarrow."""
    filesystem, root = store.filesystem()
    with filesystem.open_output_stream(f"{root}/runs/a/checkpoint") as stream:
        stream.write(data)
    assert filesystem.get_file_info(f"{root}/runs/a/checkpoint").size == len(data)


def become(server: S3Server, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the environment's keys are those of a user who has this policy alone, and the server asks."""
    iam = boto3.client("iam", endpoint_url=server.endpoint_url)
    iam.create_user(UserName="node")
    iam.put_user_policy(UserName="node", PolicyName="bucket", PolicyDocument=json.dumps(json.loads(policy)))
    key = iam.create_access_key(UserName="node")["AccessKey"]
    httpx.post(f"{server.endpoint_url}/moto-api/reset-auth", content=b"0").raise_for_status()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


def test_the_documents_cost_table_is_what_its_formulas_give():
    made = subprocess.run([sys.executable, FOLDER / "costs.py"], check=True, capture_output=True, text=True).stdout
    assert made in (ROOT / "docs" / "costs.md").read_text(encoding="utf-8")
    millions = [line for line in made.splitlines() if line.startswith("| 1,000,000 ")]
    assert millions[0].split("|")[3].strip() == f"{1_000_000 / 40 / 3600:.1f}"
