"""The manifests are what Kubernetes' own schemas allow, belong together, and fit the server and its image."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mpserve import config
from tests.deploy import images, units

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: scripts/test installs it")

FOLDER = units.DEPLOY / "kubernetes"
IMAGE = images.read(units.DEPLOY / "container" / "Containerfile")[-1]
# The oldest that has all that the manifests say, and the newest that there are schemas of.
VERSIONS = ("1.27", "latest")
MIB = 1024 * 1024
MARGIN = 5  # seconds: what ending takes beside what it waits for
Manifest = dict[str, Any]


class StrictLoader(yaml.SafeLoader):  # type: ignore[name-defined, misc]  # imported only where it is there
    """A reader for which a key that stands twice is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"{node.start_mark}: a key stands twice"
        return dict(super().construct_mapping(node, deep=deep))


def read(name: str) -> Manifest:
    manifest = yaml.load((FOLDER / name).read_text(), StrictLoader)
    assert isinstance(manifest, dict)
    return manifest


RESOURCES: list[str] = read("kustomization.yaml")["resources"]
MANIFESTS = {manifest["kind"]: manifest for manifest in map(read, RESOURCES)}
DEPLOYMENT = MANIFESTS["Deployment"]["spec"]
POD = DEPLOYMENT["template"]["spec"]
(CONTAINER,) = POD["containers"]


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """The container's arguments, with a root that is there on this machine."""
    return [str(tmp_path) if word == "/srv/www" else word for word in CONTAINER["args"]]


def validate(manifest: Manifest, version: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="scripts/test installs it")
    schemas.validate(
        manifest, schemas.latest_version() if version == "latest" else version, strict=True
    )


# --- Shape ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", MANIFESTS)
def test_the_schema_of_kubernetes_allows_it(kind: str, version: str) -> None:
    validate(MANIFESTS[kind], version)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MANIFESTS)
def test_the_schema_would_not_allow_a_word_that_it_does_not_know(kind: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="scripts/test installs it")
    manifest = {**MANIFESTS[kind], "spec": {**MANIFESTS[kind]["spec"], "minReplica": 2}}

    with pytest.raises(schemas.ValidationError):
        validate(manifest, "latest")


def test_every_manifest_is_applied() -> None:
    there = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}

    assert there == set(RESOURCES)


def rendered(folder: Path) -> dict[str, Manifest]:
    """The manifests of a kustomization, as they would be applied."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(
        ["kubectl", "kustomize", folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {each["kind"]: each for each in yaml.load_all(done.stdout, StrictLoader)}


@pytest.mark.slow
def test_the_kustomization_is_what_stands_in_the_files() -> None:
    assert rendered(FOLDER) == MANIFESTS


# --- What belongs together ------------------------------------------------------------------------


def test_service_and_budget_choose_the_pods_of_the_deployment() -> None:
    labels = DEPLOYMENT["template"]["metadata"]["labels"]
    selectors = [
        DEPLOYMENT["selector"]["matchLabels"],
        MANIFESTS["Service"]["spec"]["selector"],
        MANIFESTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in POD["topologySpreadConstraints"]),
    ]

    assert [labels] * len(selectors) == selectors


def test_the_autoscaler_scales_the_deployment_and_alone_says_how_many() -> None:
    spec = MANIFESTS["HorizontalPodAutoscaler"]["spec"]
    target = spec["scaleTargetRef"]
    deployment = MANIFESTS["Deployment"]

    assert (target["apiVersion"], target["kind"], target["name"]) == (
        deployment["apiVersion"],
        deployment["kind"],
        deployment["metadata"]["name"],
    )
    assert "replicas" not in DEPLOYMENT
    assert spec["minReplicas"] > MANIFESTS["PodDisruptionBudget"]["spec"]["maxUnavailable"]
    # A share of what is requested can be reckoned only where something is.
    assert CONTAINER["resources"]["requests"]["cpu"]


def test_the_service_leads_to_the_port_that_is_served(arguments: list[str]) -> None:
    ports = {each["name"]: each["containerPort"] for each in CONTAINER["ports"]}
    (served,) = config.load(arguments, {}).bind
    (port,) = MANIFESTS["Service"]["spec"]["ports"]

    assert ports[port["targetPort"]] == served.port == int(IMAGE.last("EXPOSE").rest)
    assert served.public


# --- What fits the server and its image -----------------------------------------------------------


def test_check_would_accept_the_arguments(arguments: list[str]) -> None:
    loaded = config.load(arguments, {"MPSERVE_PORT": "tcp://10.0.0.1:80"})

    assert loaded.access_log == "-"


def test_the_pod_runs_as_the_user_of_the_image_and_can_be_seen_not_to_be_root() -> None:
    context = POD["securityContext"]

    assert context["runAsNonRoot"]
    assert IMAGE.last("USER").rest == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_the_container_can_neither_write_nor_gain_rights() -> None:
    context = CONTAINER["securityContext"]

    assert context == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "volumeMounts" not in CONTAINER


def test_the_server_has_ended_before_it_is_killed(arguments: list[str]) -> None:
    loaded = config.load(arguments, {})
    longest = loaded.upkeep.shutdown_delay + loaded.timeouts.graceful + MARGIN

    assert POD["terminationGracePeriodSeconds"] > longest


def test_the_balancers_have_time_to_learn_that_a_pod_ends(arguments: list[str]) -> None:
    assert config.load(arguments, {}).upkeep.shutdown_delay >= 5


def test_memory_suffices_for_all_that_the_workers_may_keep(arguments: list[str]) -> None:
    limits = CONTAINER["resources"]["limits"]
    caches = config.load(arguments, {}).caches
    kept = int(limits["cpu"]) * 2 * caches.octets

    assert int(limits["memory"].removesuffix("Mi")) * MIB > 1.5 * kept


# --- Probes ---------------------------------------------------------------------------------------


def test_probes_ask_what_clients_ask() -> None:
    for probe in ("startupProbe", "readinessProbe"):
        assert CONTAINER[probe]["httpGet"] == {"path": "/", "port": "http"}


def test_nothing_kills_a_pod_that_has_much_to_do() -> None:
    assert "livenessProbe" not in CONTAINER
