"""The Kubernetes manifests, without a cluster: schemas, and what schemas do not say."""

from __future__ import annotations

import copy
import re
import tomllib
from typing import Any

import kubernetes_validate
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from serving.app import ServeOptions
from tests import command_lines
from tests.conftest import ROOT
from tests.infra.manifests import OVERLAYS, Manifest, custom_resource, jobs, one, overlay, pod_specs

KUBERNETES = "1.37"


def validate(manifest: Manifest) -> None:
    """Raise where a cluster would refuse the manifest, or drop a field of it."""
    if manifest["apiVersion"] == "ray.io/v1":
        custom_resource(manifest["kind"]).validate(manifest)
    elif manifest["kind"] == "PodMonitor":  # its operator's schema is not at hand; its ports are looked up below
        assert set(manifest["spec"]) == {"selector", "podMetricsEndpoints"}
    else:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_cluster_would_take_every_manifest_of_an_overlay(name: str):
    for manifest in overlay(name):
        validate(manifest)


@pytest.mark.parametrize("job", jobs(), ids=lambda job: job["metadata"]["generateName"].rstrip("-"))
def test_a_cluster_would_take_every_job(job: Manifest):
    validate(job)
    # What KubeRay's operator refuses beyond its schema.
    assert "backoffLimit" not in job["spec"]
    assert "suspend" not in job["spec"]
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": "onesheet"}


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("RayCluster", ["spec", "headGroupSpec", "template", "spec", "containers", 0, "imagePullPolice"]),
        ("RayService", ["spec", "serveConfigV3"]),
        ("CronJob", ["spec", "jobTemplate", "spec", "backofLimit"]),
        ("NetworkPolicy", ["spec", "ingres"]),
    ],
)
def test_a_misspelled_field_is_found(kind: str, path: list[Any]):
    manifest = copy.deepcopy(next(each for each in overlay("cloud") if each["kind"] == kind))
    node: Any = manifest
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = "x"
    with pytest.raises(Exception, match=r"Additional properties|additionalProperties|not allowed|unexpected"):
        validate(manifest)


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_endpoint_is_the_application_of_serve_yaml_on_the_overlays_store(name: str):
    manifests = overlay(name)
    served = yaml.safe_load(one(manifests, "RayService")["spec"]["serveConfigV2"])
    expected = yaml.safe_load((ROOT / "infra" / "serve.yaml").read_text(encoding="utf-8"))
    expected["applications"][0]["args"]["store"] = one(manifests, "ConfigMap")["data"]["ONESHEET_STORE"]
    assert served == expected
    assert ServeDeploySchema.model_validate(served).model_dump(exclude_unset=True, mode="json") == served
    ServeOptions.model_validate(served["applications"][0]["args"])


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_ray_is_the_locked_one(name: str):
    (locked,) = re.findall(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert one(overlay(name), "RayCluster")["spec"]["rayVersion"] == locked
    assert one(overlay(name), "RayService")["spec"]["rayClusterConfig"]["rayVersion"] == locked


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_container_says_what_it_needs_and_is_not_root(name: str):
    for manifest in overlay(name):
        for pod in pod_specs(manifest):
            for container in pod["containers"]:
                resources, security = container["resources"], container["securityContext"]
                assert resources["requests"].keys() >= {"cpu", "memory"}
                # Ray kills its own tasks at its memory's limit; a pod over its request is killed by others.
                assert resources["limits"]["memory"] == resources["requests"]["memory"]
                assert security["runAsNonRoot"]
                assert security["capabilities"] == {"drop": ["ALL"]}
                assert security["allowPrivilegeEscalation"] is False


def test_the_cloud_overlay_holds_no_secret_and_names_them():
    manifests = overlay("cloud")
    assert not [each for each in manifests if each["kind"] == "Secret"]
    for kind in ("RayCluster", "RayService"):
        spec = one(manifests, kind)["spec"]
        cluster = spec.get("rayClusterConfig", spec)
        assert cluster["authOptions"] == {"mode": "token", "secretName": "onesheet-ray-token"}
        for pod in pod_specs(cluster):
            assert {"secretRef": {"name": "onesheet", "optional": True}} in pod["containers"][0]["envFrom"]


def test_work_that_can_be_killed_runs_on_spot_nodes_and_the_rest_does_not():
    capacity = "karpenter.sh/capacity-type"
    jobs_cluster = one(overlay("cloud"), "RayCluster")["spec"]
    endpoint = one(overlay("cloud"), "RayService")["spec"]["rayClusterConfig"]
    groups = {group["groupName"]: group["template"]["spec"] for group in jobs_cluster["workerGroupSpecs"]}
    assert {name: pod["nodeSelector"][capacity] for name, pod in groups.items()} == {"cpu": "spot", "gpu": "spot"}
    for pod in groups.values():
        assert capacity in [toleration["key"] for toleration in pod["tolerations"]]
    heads = [jobs_cluster["headGroupSpec"], endpoint["headGroupSpec"], *endpoint["workerGroupSpecs"]]
    assert {head["template"]["spec"]["nodeSelector"][capacity] for head in heads} == {"on-demand"}


def test_trainers_get_one_gpu_each_on_nodes_that_have_one():
    (group,) = [
        each
        for each in one(overlay("cloud"), "RayCluster")["spec"]["workerGroupSpecs"]
        if "nvidia.com/gpu" in each["template"]["spec"]["containers"][0]["resources"]["limits"]
    ]
    pod = group["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["containers"][0]["image"].endswith(":gpu")
    assert pod["nodeSelector"]["nvidia.com/gpu.present"] == "true"
    assert group["minReplicas"] == 0


def test_prometheus_finds_the_ports_that_it_is_told_of():
    monitored = {each["port"] for each in one(overlay("cloud"), "PodMonitor")["spec"]["podMetricsEndpoints"]}
    for kind in ("RayCluster", "RayService"):
        pods = list(pod_specs(one(overlay("cloud"), kind)))
        open_ports = [{port["name"] for port in pod["containers"][0]["ports"]} for pod in pods]
        assert set.union(*open_ports) >= monitored
        assert all("metrics" in ports for ports in open_ports)


@pytest.mark.parametrize("name", OVERLAYS)
def test_no_pod_is_reached_without_a_policy_that_says_so(name: str):
    policies = [each["spec"] for each in overlay(name) if each["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    # Ray's own ports run code: only Ray's pods, the operator and the pipeline come near them.
    for policy in policies:
        for rule in policy.get("ingress", []):
            for port in rule.get("ports", []):
                assert port["port"] != 6379
            assert rule.get("from"), "an ingress rule without a source lets everybody in"


def test_every_command_that_a_manifest_runs_exists():
    for job in jobs():
        command_lines.check(job["spec"]["entrypoint"])
    (pod,) = pod_specs(one(overlay("cloud"), "CronJob", "onesheet-pipeline"))
    words = pod["containers"][0]["args"]
    assert words[:3] == ["onesheet", "pipeline", "/etc/onesheet/pipeline.toml"]
    command_lines.check(" ".join(words))


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_pipelines_file_holds_options_that_its_stages_take(name: str):
    manifests = overlay(name)
    plan = tomllib.loads(one(manifests, "ConfigMap", "onesheet-pipeline")["data"]["pipeline.toml"])
    assert plan["catalog"] == one(manifests, "ConfigMap")["data"]["CATALOG"]
    for stage in ("crawl", "prepare", "train"):
        options = " ".join(f"--{option} {value}" for option, value in plan.get(stage, {}).items())
        command_lines.check(f"onesheet {stage} {options}")
