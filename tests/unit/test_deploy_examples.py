"""The examples for process managers: each read by its own tool, and their numbers add up."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from queued.config.load import load
from queued.config.schema import Config
from queued.daemon.master.master import STOP_MARGIN
from queued.units import parse_duration
from tests.process.harness import QUEUED
from tests.tools import required

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "deploy"
DOCKER = EXAMPLES / "docker"
KUBERNETES = EXAMPLES / "kubernetes"
SECRETS = ("redis-password", "http-token")


def run(*command: str | Path, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "NO_COLOR": "1", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def accepted(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def put(text: str, folder: Path, *, secrets: str) -> Path:
    """Write a queue.yaml with its secrets in ``folder``, not where the container has them."""
    (folder / "secrets").mkdir()
    for name in SECRETS:
        (folder / "secrets" / name).write_text("a-secret-of-a-good-length\n")
    assert text.count(f"file:{secrets}/") == len(SECRETS)
    path = folder / "queue.yaml"
    path.write_text(text.replace(f"file:{secrets}", f"file:{folder}/secrets"))
    return path


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DOCKER / "compose.yaml").read_text()))


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    documents = yaml.safe_load_all((KUBERNETES / "queued.yaml").read_text())
    return {document["kind"]: document for document in documents}


def test_hadolint_takes_the_dockerfile() -> None:
    accepted(run(required("hadolint"), "Dockerfile", folder=DOCKER))


def test_docker_compose_takes_the_file(tmp_path: Path) -> None:
    tool = required("docker-compose")
    accepted(run(tool, "config", "--quiet", folder=DOCKER))
    text = (DOCKER / "compose.yaml").read_text()
    (tmp_path / "compose.yaml").write_text(text.replace("stop_grace_period", "stop_grace"))
    wrong = run(tool, "config", "--quiet", folder=tmp_path)
    assert "stop_grace" in wrong.stderr, "it looks at every key"


def test_promtool_takes_its_prometheus_yml() -> None:
    tool = required("promtool")
    accepted(run(tool, "check", "config", "--syntax-only", "prometheus.yml", folder=DOCKER))


def test_kubernetes_takes_the_manifests(tmp_path: Path) -> None:
    tool = required("kubernetes-validate")
    said = accepted(run(tool, "--strict", "queued.yaml", folder=KUBERNETES))
    assert said.count("passed") == 3
    text = (KUBERNETES / "queued.yaml").read_text()
    (tmp_path / "queued.yaml").write_text(text.replace("readinessProbe", "readynessProbe"))
    assert run(tool, "--strict", "queued.yaml", folder=tmp_path).returncode != 0


def test_the_image_s_check_passes(tmp_path: Path) -> None:
    """What the Dockerfile runs, with stand-ins for the secrets, finds nothing to say."""
    path = put((DOCKER / "queue.yaml").read_text(), tmp_path, secrets="/run/secrets")
    (tmp_path / "app").symlink_to(DOCKER / "app")
    said = accepted(run(QUEUED, "check", "-c", path, folder=tmp_path))
    assert "app.jobs.Greet" in said
    assert "warning" not in said


def test_compose_waits_for_a_drain(compose: dict[str, Any], tmp_path: Path) -> None:
    path = put((DOCKER / "queue.yaml").read_text(), tmp_path, secrets="/run/secrets")
    grace = load(path, {}).config.shutdown_grace
    worker = compose["services"]["worker"]
    assert parse_duration(worker["stop_grace_period"]) >= grace + STOP_MARGIN
    assert "ports" not in worker, "two containers cannot publish one"
    assert "container_name" not in worker, "nor have one name"
    assert set(worker["secrets"]) == set(compose["secrets"]) == set(SECRETS)


def test_kubernetes_waits_for_a_drain(resources: dict[str, Any], tmp_path: Path) -> None:
    pod = resources["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "secrets"]
    text = resources["ConfigMap"]["data"]["queue.yaml"]
    config = load(put(text, tmp_path, secrets=mount["mountPath"]), {}).config
    command = container["lifecycle"]["preStop"]["exec"]["command"][-1]
    quiet = float(re.findall(r"sleep (\d+)", command)[0])
    assert pod["terminationGracePeriodSeconds"] > quiet + config.shutdown_grace + STOP_MARGIN
    assert config.http
    assert not config.http.is_loopback
    (port,) = container["ports"]
    assert port["containerPort"] == config.http.port
    for probe, path in {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }.items():
        asked = container[f"{probe}Probe"]["httpGet"]
        assert (asked["path"], asked["port"]) == (path, port["name"])


def test_the_pod_monitor_finds_the_pods(resources: dict[str, Any]) -> None:
    """No package has the schema of the operator's kinds, so what they refer to is looked at."""
    monitor = yaml.safe_load((KUBERNETES / "podmonitor.yaml").read_text())
    template = resources["Deployment"]["spec"]["template"]
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= template["metadata"]["labels"].items()
    (container,) = template["spec"]["containers"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in [port["name"] for port in container["ports"]]
    secret = endpoint["authorization"]["credentials"]
    (volume,) = [one for one in template["spec"]["volumes"] if one["name"] == "secrets"]
    assert (secret["name"], secret["key"]) == (volume["secret"]["secretName"], "http-token")
    interval = parse_duration(endpoint["interval"])
    assert f"sleep {interval:.0f}" in container["lifecycle"]["preStop"]["exec"]["command"][-1]


def test_supervisord_waits_for_a_drain() -> None:
    text = (EXAMPLES / "supervisor" / "queued.conf").read_text()
    grace: float = Config.model_fields["shutdown_grace"].get_default(call_default_factory=True)
    (wait,) = re.findall(r"^stopwaitsecs=(\d+)$", text, re.MULTILINE)
    assert float(wait) > grace + STOP_MARGIN
