"""The values of the Helm chart say the same as the settings of the service; the dashboard knows its metrics."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from poselift_service.settings import Settings
from poselift_service.telemetry.metrics import Metrics
from prometheus_client import CollectorRegistry

CHART = Path(__file__).parents[2] / "helm" / "poselift"
# What the chart knows from elsewhere: other values, Secrets, and where it mounts things.
OWN = {"host", "models", "redis_url", "admin_key", "api_keys_file", "tls_certificate", "tls_key", "tls_client_ca"}
BOUNDS = ("type", "minimum", "maximum", "exclusiveMinimum", "enum")
ENDINGS = ("_total", "_bucket", "_count", "_sum", "")


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return loaded


def test_every_setting_is_a_value_with_its_default(values: dict[str, Any]):
    assert values["settings"].keys() == Settings.model_fields.keys() - OWN
    for name, value in values["settings"].items():
        default = Settings.model_fields[name].default
        assert (value or None) == (default or None) or value == list(default), name


def test_the_schema_has_the_bounds_of_the_settings(schema: dict[str, Any]):
    described = schema["properties"]["settings"]["properties"]
    assert described.keys() == Settings.model_fields.keys() - OWN
    for name, setting in Settings.model_json_schema()["properties"].items():
        if name in described and "anyOf" not in setting:
            expected = {bound: setting[bound] for bound in BOUNDS if bound in setting}
            assert {bound: described[name][bound] for bound in BOUNDS if bound in described[name]} == expected, name


def test_the_schema_knows_every_value_and_no_other(values: dict[str, Any], schema: dict[str, Any]):
    # What Helm itself puts there, when a chart is a part of another.
    assert schema["properties"].keys() - values.keys() == {"global", "enabled"}
    assert _unlike(values, schema) == []


def _unlike(values: Any, schema: dict[str, Any], path: str = "") -> list[str]:
    if "properties" not in schema:
        return []
    own = schema["properties"].keys() - ({"global", "enabled"} if not path else set())
    found = [] if schema["additionalProperties"] is False else [f"{path} may have any key"]
    found += [f"{path}.{name}" for name in own ^ values.keys()]
    return found + [
        line
        for name in own & values.keys()
        for line in _unlike(values[name], schema["properties"][name], f"{path}.{name}")
    ]


def test_every_value_has_its_sentence():
    said: list[str] = []
    for line in (CHART / "values.yaml").read_text().splitlines():
        if re.match(r" *[A-Za-z_]+: *\S", line) and not line.lstrip().startswith(("requests:", "limits:")):
            assert re.match(r"[A-Z`].*\.|sha256", " ".join(said)), f"{line!r} has no sentence above it"
        said = [*said, line.lstrip(" #")] if line.lstrip().startswith("#") else []


def test_templates_read_only_values_that_there_are(values: dict[str, Any]):
    for template in (CHART / "templates").iterdir():
        for path in re.findall(r"(?:\.Values|\$v)\.([A-Za-z_.]+)", template.read_text()):
            found: Any = values
            for name in path.rstrip(".").split("."):
                assert isinstance(found, dict), f"{template.name}: {path}"
                assert name in found, f"{template.name}: {path}"
                found = found[name]


def expressions() -> list[str]:
    """Everything that the dashboard and the alerts ask Prometheus."""
    board = json.loads((CHART / "files" / "dashboard.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    asked += [variable["query"] for variable in board["templating"]["list"]]
    return [*asked, (CHART / "templates" / "prometheusrule.yaml").read_text()]


def test_dashboard_and_alerts_ask_for_metrics_that_there_are():
    registry = CollectorRegistry()
    Metrics(registry)
    exposed = {f"{family.name}{ending}" for family in registry.collect() for ending in ENDINGS}
    asked = {name for text in expressions() for name in re.findall(r"\b(?:poselift|process)_[a-z_]+\b", text)}
    assert asked - exposed == set()
    ours = {family.name for family in registry.collect() if family.name.startswith("poselift_")}
    unseen = {name for name in ours if not any(f"{name}{ending}" in asked for ending in ENDINGS)}
    assert unseen == set(), "the dashboard shows nothing of these"


def test_every_alert_says_what_to_do():
    alerts = (CHART / "templates" / "prometheusrule.yaml").read_text().split("- alert: ")[1:]
    assert len(alerts) > 6
    for alert in alerts:
        assert alert.count("summary: ") == alert.count("runbook: ") == 1
        assert re.search(r"runbook: >-\n(\s+\S.*\n)+", alert)
        assert alert.split("runbook: >-")[1].split("{{")[0].rstrip().endswith((".", "`.")), alert
    board = json.loads((CHART / "files" / "dashboard.json").read_text())
    for panel in board["panels"]:
        assert panel["type"] == "row" or panel["description"].endswith("."), panel["title"]
