"""A real Prometheus scrapes the running server, and is asked everything that the dashboard and the alerts ask."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.chart.rendering import CHART, NAME, NAMESPACE, REPOSITORY, VALUE_SETS, one, render, rendered_texts
from tests.integration.redis_process import free_port, running_redis
from tests.integration.server_process import ANSWER_S, ServerProcess, eventually, running
from tests.integration.stream_clients import Replica, WebSocketJson, open_session
from tests.integration.walking import at_rate, keypoints

JSON = {"content-type": "application/json"}
SAMPLE = REPOSITORY / "service" / "poselift_service" / "web" / "sample.json"
PROMTOOL_S = 60
# Nothing is there to be shown where there is no GPU, and while nothing goes wrong.
MAY_BE_EMPTY = re.compile('device_memory|session_store_errors|code="overloaded"')

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="there is no Prometheus (make prometheus)")


@dataclass(frozen=True)
class Watched:
    """A server, and the Prometheus that watches it."""

    server: ServerProcess
    metrics_port: int
    address: str

    def ask(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.address}/api/v1/{path}", params=parameters, timeout=ANSWER_S)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def scraped(self) -> bool:
        targets = self.ask("targets")["activeTargets"]
        return bool(targets) and all(target["health"] == "up" for target in targets)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    with ExitStack() as cleanup:
        redis = cleanup.enter_context(running_redis(folder))
        ports = {"metrics_port": free_port(), "grpc_port": free_port()}
        server = cleanup.enter_context(running("models", folder / "log", redis_url=redis.url, **ports))
        _use(server, ports["grpc_port"])
        watched = Watched(
            server, ports["metrics_port"], cleanup.enter_context(_prometheus(folder, ports["metrics_port"]))
        )
        eventually(lambda: watched.scraped() or None)
        # Rates need two scrapes, with something between them.
        eventually(lambda: len(watched.ask("query", query="poselift_ready[1m]")["result"][0]["values"]) > 2 or None)
        _use(server, ports["grpc_port"])
        eventually(lambda: watched.ask("query", query="rate(poselift_frames_lifted_total[1m]) > 0")["result"] or None)
        yield watched


def _use(server: ServerProcess, grpc_port: int) -> None:
    """Lift the sample, and stream a person."""
    lifted = httpx.post(f"{server.address}/lift", content=SAMPLE.read_bytes(), headers=JSON, timeout=ANSWER_S)
    assert lifted.status_code == 200, lifted.text
    replica = Replica(server.address, grpc_port)
    with WebSocketJson(replica, open_session(replica, fps=30, lookahead=0)) as client:
        client.send(0, keypoints(at_rate(30, 5), 1))
        client.receive()
        client.end()
        client.receive()


@contextmanager
def _prometheus(folder: Path, metrics_port: int) -> Iterator[str]:
    """One that scrapes the server each second, with the chart's rules; gives its address."""
    (folder / "rules.yml").write_text(yaml.safe_dump(one(render(VALUE_SETS["production"]), "PrometheusRule")["spec"]))
    target = {"targets": [f"127.0.0.1:{metrics_port}"], "labels": {"namespace": NAMESPACE, "pod": "pod-1"}}
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": NAME, "static_configs": [target]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(settings))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)

    def answers() -> bool | None:
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        try:
            return httpx.get(f"http://{address}/-/ready", timeout=ANSWER_S).status_code == 200 or None
        except httpx.TransportError:
            return None

    try:
        eventually(answers)
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


def shown() -> dict[str, str]:
    """What each panel of the dashboard asks, by its title and letter, for everything that it can be chosen for."""
    board = json.loads((CHART / "files" / "dashboard.json").read_text())
    asked = {}
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "1m")
            asked[f"{panel['title']} {target['refId']}"] = re.sub(r"\$\w+", ".+", expression)
    return asked


def alerts() -> dict[str, str]:
    rules = one(render(VALUE_SETS["production"]), "PrometheusRule")["spec"]["groups"][0]["rules"]
    return {rule["alert"]: rule["expr"] for rule in rules}


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:poselift|process)_[a-z_]+\b", expression))


@pytest.mark.parametrize("title", shown())
def test_what_the_dashboard_asks_is_answered(watched: Watched, title: str):
    expression = shown()[title]
    result = watched.ask("query", query=expression)["result"]
    assert metrics_in(expression)
    assert metrics_in(expression) <= exposed(watched)
    assert result or MAY_BE_EMPTY.search(expression), expression


@pytest.mark.parametrize("alert", alerts())
def test_what_the_alerts_ask_is_answered(watched: Watched, alert: str):
    watched.ask("query", query=alerts()[alert])
    assert metrics_in(alerts()[alert])
    assert metrics_in(alerts()[alert]) <= exposed(watched)


def exposed(watched: Watched) -> set[str]:
    """Every metric that the server has told Prometheus of, also those without a value yet."""
    families = watched.ask("metadata")
    endings = {"counter": ["", "_total"], "histogram": ["_bucket", "_count", "_sum"], "gauge": [""]}
    return {f"{name}{ending}" for name, about in families.items() for ending in endings[about[0]["type"]]}


def test_nothing_goes_off_while_all_is_well(watched: Watched):
    def rules() -> list[dict[str, Any]] | None:
        (group,) = watched.ask("rules")["groups"]
        found: list[dict[str, Any]] = group["rules"]
        return found if all(rule["health"] == "ok" for rule in found) else None

    states = {rule["name"]: rule["state"] for rule in eventually(rules)}
    # Whether it is fast enough is up to the machine.
    well = {alert: state for alert, state in states.items() if "Latency" not in alert}
    assert states.keys() == alerts().keys()
    assert set(well.values()) == {"inactive"}, well


def test_the_lists_of_the_dashboard_are_filled(watched: Watched):
    board = json.loads((CHART / "files" / "dashboard.json").read_text())
    queries = [variable["query"] for variable in board["templating"]["list"] if variable["type"] == "query"]
    assert queries
    for query in queries:
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert found is not None, query
        assert watched.ask(f"label/{found[2]}/values", **{"match[]": found[1].replace("$job", ".+")})


def test_the_request_in_the_notes_is_lifted(watched: Watched):
    (notes,) = (text for name, text in rendered_texts().items() if name.endswith("NOTES.txt"))
    script = re.search(r"python3 -c '(.*?)'", notes, re.DOTALL)
    assert script is not None
    lines = script[1].replace("\n  ", "\n")
    request = subprocess.run([sys.executable, "-c", lines], capture_output=True, check=True, timeout=PROMTOOL_S).stdout
    answer = httpx.post(f"{watched.server.address}/lift", content=request, headers=JSON, timeout=ANSWER_S)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("probe", ["readinessProbe", "livenessProbe"])
def test_probes_that_look_at_the_metrics_tell_how_it_is(watched: Watched, probe: str):
    deployment = one(render(VALUE_SETS["keda behind a gateway with TLS"]), "Deployment")
    _, *arguments = deployment["spec"]["template"]["spec"]["containers"][0][probe]["exec"]["command"]
    for port, code in ((watched.metrics_port, 0), (free_port(), 1)):
        command = [sys.executable, *(argument.replace(":8002/", f":{port}/") for argument in arguments)]
        assert subprocess.run(command, timeout=PROMTOOL_S, check=False, capture_output=True).returncode == code


def test_the_prometheus_of_compose_takes_its_configuration():
    command = ["promtool", "check", "config", str(REPOSITORY / "docker" / "prometheus.yml")]
    subprocess.run(command, check=True, timeout=PROMTOOL_S, capture_output=True)
