"""The manifests are what the types of Kubernetes allow, belong together, and fit the server and its image."""

from __future__ import annotations

import http.client
import importlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mpserve import config
from tests.deploy import images, units
from tests.harness import peers
from tests.harness.recipes import SEARCH_PATH
from tests.harness.server import Server
from tests.harness.until import until

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: scripts/test installs it")

FOLDER = units.DEPLOY / "kubernetes"
METRICS = units.DEPLOY / "kubernetes-metrics"
IMAGE = images.read(units.DEPLOY / "container" / "Containerfile")[-1]
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
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """The container's arguments, with a root that is there on this machine."""
    return [str(tmp_path) if word == "/srv/www" else word for word in CONTAINER["args"]]


def as_kubernetes_reads_it(manifest: Manifest) -> Manifest:
    """What its types, made from its own schemas, have room for. Raises an error for a value of the wrong type."""
    pytest.importorskip("lightkube", reason="lightkube is not installed: scripts/test installs it")
    group, _, version = manifest["apiVersion"].rpartition("/")
    types = importlib.import_module(f"lightkube.models.{group or 'core'}_{version}")
    read: Manifest = getattr(types, manifest["kind"]).from_dict(manifest).to_dict()
    return read


def texts(value: Any) -> Iterator[Any]:
    """The values of all mappings for which the types say no more than that they are mappings."""
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if name in ("labels", "annotations", "matchLabels", "selector", "requests", "limits"):
            yield from (each for each in inner.values() if not isinstance(each, dict))
        if isinstance(inner, dict | list):
            yield from texts(inner)


# --- Shape ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MANIFESTS)
def test_kubernetes_knows_every_word_of_it(kind: str) -> None:
    manifest = MANIFESTS[kind]

    assert manifest == as_kubernetes_reads_it(manifest)
    assert {str} == set(map(type, texts(manifest)))


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_word_that_kubernetes_does_not_know_would_be_seen(kind: str) -> None:
    manifest = {**MANIFESTS[kind], "spec": {**MANIFESTS[kind]["spec"], "minReplica": 2}}

    assert manifest != as_kubernetes_reads_it(manifest)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("Deployment", "minReadySeconds", "2"),
        ("Deployment", "selector", ["mpserve"]),
        ("Service", "ports", [{"name": "http", "port": "80"}]),
        ("HorizontalPodAutoscaler", "maxReplicas", None),
        ("PodDisruptionBudget", "maxUnavailable", 0.5),
    ],
)
def test_a_value_of_the_wrong_type_would_be_seen(kind: str, name: str, value: object) -> None:
    manifest = {**MANIFESTS[kind], "spec": {**MANIFESTS[kind]["spec"], name: value}}

    with pytest.raises(ValueError, match=f"`\\$.spec.{name}"):
        as_kubernetes_reads_it(manifest)


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


@pytest.mark.slow
def test_kubernetes_knows_what_is_added_for_metrics() -> None:
    manifests = rendered(METRICS)
    for manifest in manifests.values():
        assert manifest == as_kubernetes_reads_it(manifest)
    containers = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    added = next(each for each in containers if each["name"] == "metrics")

    assert CONTAINER in containers
    assert added["securityContext"] == CONTAINER["securityContext"]


@pytest.mark.slow
def test_metrics_and_nothing_else_leave_the_pod(tmp_path: Path) -> None:
    haproxy = shutil.which("haproxy", path=SEARCH_PATH)
    if haproxy is None:
        pytest.skip("haproxy is not installed")
    for name in ("metrics", "status"):  # a tree that stands for the admin address
        (tmp_path / name).write_text(name)
    text = (METRICS / "haproxy.cfg").read_text()
    assert "bind :9090" in text
    assert "127.0.0.1:8001" in text
    port = peers.free_port()
    with Server(tmp_path, "--access-log", "off") as server:
        file = tmp_path / "haproxy.cfg"
        text = text.replace("bind :9090", f"bind 127.0.0.1:{port}")
        file.write_text(text.replace("127.0.0.1:8001", f"127.0.0.1:{server.port}"))
        with subprocess.Popen(
            [haproxy, "-db", "-f", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            assert until(lambda: status(port, "/metrics") == 200 or process.poll() is not None)
            others = [status(port, "/status"), status(port, "/metrics", "POST")]
            process.terminate()

    assert others == [403, 403]


def status(port: int, path: str, method: str = "GET") -> int:
    """The status of an answer; 0 where nobody is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


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


def commands() -> Iterator[list[str]]:
    for probe in PROBES:
        yield CONTAINER[probe]["exec"]["command"]


def test_probes_ask_the_admin_address(arguments: list[str]) -> None:
    admin = str(config.load(arguments, {}).admin)
    asked = [command[-2:] for command in commands()]

    assert asked == [[admin, "/readyz"], [admin, "/readyz"], [admin, "/healthz"]]


def test_probes_are_commands_that_the_image_has() -> None:
    targets = {
        os.path.join(target, "") if target.endswith("/") else target: sources
        for copy in IMAGE.all("COPY")
        for sources, target in [images.copied(copy)]
    }
    for interpreter, *flags, script, _, _ in commands():
        assert interpreter.startswith("/opt/mpserve/bin/")
        assert flags == ["-I", "-S"]
        assert script in targets


def test_a_probe_gives_up_before_its_time_is_over() -> None:
    text = (units.DEPLOY / "container/probe.py").read_text()
    (limit,) = re.findall(r"^LIMIT = ([0-9.]+)", text, re.MULTILINE)

    assert all(CONTAINER[probe]["timeoutSeconds"] > float(limit) for probe in PROBES)


def test_a_pod_that_is_slow_for_a_while_is_not_killed() -> None:
    live, ready = CONTAINER["livenessProbe"], CONTAINER["readinessProbe"]

    assert live["periodSeconds"] * live["failureThreshold"] >= 60
    assert live["periodSeconds"] * live["failureThreshold"] > 3 * (
        ready["periodSeconds"] * ready["failureThreshold"]
    )
