"""Each alert goes off when it should and keeps quiet when it should, judged by promtool."""

import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import NAME, NAMESPACE, VALUE_SETS, one, render

PROMTOOL_S = 60
OF = f'namespace="{NAMESPACE}",job="{NAME}"'
POD = f'{OF},instance="10.0.0.1:8002",pod="pod-1"'
OTHER = f'{OF},instance="10.0.0.2:8002",pod="pod-2"'
# Another release is nobody's business here.
STRANGER = 'namespace="other",job="other",instance="10.9.9.9:8002",pod="stranger"'

Series = dict[str, str]

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool (make prometheus)")


def requests(ok: int, overloaded: int = 0, of: str = POD) -> Series:
    """So many requests per minute."""
    return {
        f'poselift_requests_total{{transport="http",code="ok",{of}}}': f"0+{ok}x600",
        f'poselift_requests_total{{transport="http",code="overloaded",{of}}}': f"0+{overloaded}x600",
    }


def latency(fast: int, slow: int, of: str = POD) -> Series:
    """So many requests per minute within a second, and beyond it."""
    return {
        f'poselift_stage_seconds_bucket{{transport="http",stage="total",le="1.0",{of}}}': f"0+{fast}x600",
        f'poselift_stage_seconds_count{{transport="http",stage="total",{of}}}': f"0+{fast + slow}x600",
        # Another stage does not count.
        f'poselift_stage_seconds_bucket{{transport="http",stage="queue",le="1.0",{of}}}': "0+0x600",
        f'poselift_stage_seconds_count{{transport="http",stage="queue",{of}}}': "0+100x600",
    }


def store(calls: int, errors: int, of: str = POD) -> Series:
    return {
        f'poselift_session_store_seconds_count{{operation="advance",{of}}}': f"0+{calls}x600",
        f'poselift_session_store_errors_total{{operation="advance",{of}}}': f"0+{errors}x600",
    }


def ready(values: str, of: str = POD) -> Series:
    return {f"poselift_ready{{{of}}}": values}


def loading(values: str) -> Series:
    return {f"poselift_model_load_failures_total{{{POD}}}": values}


def failures(values: str) -> Series:
    return {f'poselift_engine_failures_total{{model="pose",version="2",{POD}}}': values}


# Alert, what is the matter, the series of a minute each, and the minute it is looked at.
FIRING: list[tuple[str, str, Series, str]] = [
    ("PoseliftLatencyBurnsFast", "a fifth is slow", latency(80, 20), "2h"),
    ("PoseliftLatencyBurnsSlow", "a twelfth is slow", latency(92, 8), "8h"),
    ("PoseliftRefuses", "one in twenty is refused", requests(95, 5), "15m"),
    ("PoseliftSessionStoreDown", "most calls fail", store(10, 9), "10m"),
    ("PoseliftNotReady", "one of two never gets ready", {**ready("0x600"), **ready("1x600", OTHER)}, "20m"),
    ("PoseliftNotReady", "one is scraped now and then between restarts", ready("0 _ _ 0 _ _ 0 _ _ 0 _ _ 0x20"), "18m"),
    ("PoseliftDown", "none is ready", {**ready("0x600"), **ready("1x600", STRANGER)}, "5m"),
    ("PoseliftDown", "none is there", ready("1x600", STRANGER), "5m"),
    ("PoseliftModelLoadFailed", "one could not be loaded", loading("0x10 1x20"), "15m"),
    ("PoseliftEngineFails", "a batch fails each minute", failures("0+1x60"), "10m"),
]
QUIET: list[tuple[str, str, Series, str]] = [
    ("PoseliftLatencyBurnsFast", "a twelfth is slow", latency(92, 8), "2h"),
    ("PoseliftLatencyBurnsFast", "it is over since ten minutes", {
        f'poselift_stage_seconds_bucket{{stage="total",le="1.0",{POD}}}': "0+50x110 5600+100x20",
        f'poselift_stage_seconds_count{{stage="total",{POD}}}': "0+100x130",
    }, "2h10m"),
    ("PoseliftLatencyBurnsSlow", "one in twenty-five is slow", latency(96, 4), "8h"),
    ("PoseliftLatencyBurnsSlow", "another release is slow", {**latency(100, 0), **latency(0, 100, STRANGER)}, "8h"),
    ("PoseliftLatencyBurnsSlow", "nobody asks", latency(0, 0), "8h"),
    ("PoseliftRefuses", "one in two hundred is refused", requests(199, 1), "15m"),
    ("PoseliftRefuses", "it has lasted two minutes", {
        f'poselift_requests_total{{code="ok",{POD}}}': "0+10x30",
        f'poselift_requests_total{{code="overloaded",{POD}}}': "0x10 0+10x20",
    }, "13m"),
    ("PoseliftSessionStoreDown", "few calls fail", store(10, 1), "10m"),
    ("PoseliftSessionStoreDown", "there are no sessions", store(0, 0), "10m"),
    ("PoseliftNotReady", "it warms up for five minutes", ready("0x5 1x30"), "5m"),
    ("PoseliftNotReady", "it drains for two minutes", ready("1x10 0x2"), "12m"),
    ("PoseliftDown", "one of two is ready", {**ready("0x600"), **ready("1x600", OTHER)}, "5m"),
    ("PoseliftModelLoadFailed", "it was an hour ago", loading("0x10 1x120"), "90m"),
    ("PoseliftEngineFails", "nothing fails", failures("3x60"), "10m"),
    ("PoseliftEngineFails", "one batch has failed", failures("0x9 1x60"), "20m"),
]  # fmt: skip


@functools.cache
def rules() -> dict[str, Any]:
    spec: dict[str, Any] = one(render(VALUE_SETS["production"]), "PrometheusRule")["spec"]
    return spec


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules()["groups"][0]["rules"]}


def firing(series: Series, at: str, alert: str, folder: Path) -> list[dict[str, Any]]:
    """The alerts of that name that go off at a time, as promtool sees them."""
    (folder / "rules.yml").write_text(yaml.safe_dump(rules()))
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [{"alertname": alert, "eval_time": at, "exp_alerts": []}],
            }
        ],
    }
    file = folder / "test.json"
    file.write_text(json.dumps(test))
    command = ["promtool", "test", "rules", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PROMTOOL_S, check=False)
    said = result.stdout + result.stderr
    assert result.returncode in (0, 1), said
    if result.returncode == 0:
        return []
    assert "got:[" in said.replace(" ", "").replace("\n", ""), said
    return [{"said": said}]


@pytest.mark.parametrize(
    ("alert", "matter", "series", "at"), FIRING, ids=lambda given: given if isinstance(given, str) else ""
)
def test_it_goes_off(alert: str, matter: str, series: Series, at: str, tmp_path: Path):
    (found,) = firing(series, at, alert, tmp_path)
    rule = alerts()[alert]
    assert f'severity="{rule["labels"]["severity"]}"' in found["said"]
    assert 'team="pose"' in found["said"]
    assert "<no value>" not in found["said"]


@pytest.mark.parametrize(
    ("alert", "matter", "series", "at"), QUIET, ids=lambda given: given if isinstance(given, str) else ""
)
def test_it_keeps_quiet(alert: str, matter: str, series: Series, at: str, tmp_path: Path):
    assert firing(series, at, alert, tmp_path) == []


def test_every_alert_is_tried_both_ways():
    assert {case[0] for case in FIRING} == {case[0] for case in QUIET} == alerts().keys()


def test_the_rules_are_those_of_prometheus(tmp_path: Path):
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump(rules()))
    command = ["promtool", "check", "rules", str(file)]
    subprocess.run(command, check=True, timeout=PROMTOOL_S, capture_output=True)
