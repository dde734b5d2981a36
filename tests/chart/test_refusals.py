"""Values that are nonsense, and combinations that cannot work, stop with one sentence."""

import re
from typing import Any

import helm_python
import pytest

from tests.chart.rendering import CHART, VALUE_SETS, render

_GATEWAY = [{"name": "public"}]
_JOB = {"stage": "finetune", "recipe": "smoke"}

REFUSED: dict[str, dict[str, Any]] = {
    "The tag of poselift/service must not be latest": {"image": {"tag": "latest"}},
    "The tag of redis must not be latest": {"redis": {"trial": {"image": {"tag": "latest"}}}},
    "settings.grace_s (20) is shorter than settings.deadline_s (30)": {"settings": {"grace_s": 20}},
    "terminationGracePeriodSeconds (60) must be longer than preStopSeconds (25) and settings.grace_s (35)": {
        "terminationGracePeriodSeconds": 60
    },
    "settings.connection_age_s (20) must be at most four fifths of preStopSeconds (24)": {"preStopSeconds": 24},
    "settings.max_windows_queued (19999) must be at least twice settings.max_frames (10000)": {
        "settings": {"max_windows_queued": 19_999}
    },
    "settings.port, settings.grpc_port and settings.metrics_port must differ": {"settings": {"grpc_port": 8002}},
    "models.volume.claimName must name the PersistentVolumeClaim": {"models": {"source": "volume"}},
    "models.address must be the URL of the repository": {"models": {"source": "bucket"}},
    "models.source is copy: models.address must be the URL": {"models": {"source": "copy"}},
    "redis.url and redis.existingSecret.name are both set": {
        "redis": {"url": "redis://one", "existingSecret": {"name": "other"}}
    },
    "redis.url contains a password": {"redis": {"url": "redis://:secret@one"}},
    "Several pods need a Redis": {"redis": {"trial": {"enabled": False}}},
    "Several pods need a Redis to share sessions in": {
        "replicaCount": 1,
        "autoscaling": {"by": "hpa"},
        "redis": {"trial": {"enabled": False}},
    },
    "settings.admin needs admin.existingSecret.name": {"settings": {"admin": True}},
    "tls.clientCa.name has no effect without tls.existingSecret": {"tls": {"clientCa": {"name": "ca"}}},
    "tls.clientCa.name needs settings.metrics_port": {
        "tls": {"existingSecret": "tls", "clientCa": {"name": "ca"}},
        "settings": {"metrics_port": 0},
    },
    "networkPolicy.from lets in the pods of this namespace alone": {"service": {"type": "LoadBalancer"}},
    "networkPolicy.from lets in the pods of this namespace": {"ingress": {"enabled": True, "hosts": ["a.example.org"]}},
    "networkPolicy.metricsFrom lets in the pods of this namespace": {
        "monitoring": {"serviceMonitor": {"enabled": True}}
    },
    "gpu.count requests GPUs that settings.device (cpu) leaves unused": {
        "gpu": {"count": 1},
        "settings": {"device": "cpu"},
    },
    "settings.device is cuda: gpu.count must request a GPU": {"settings": {"device": "cuda"}},
    "autoscaling.minReplicas (2) is greater than autoscaling.maxReplicas (1)": {
        "autoscaling": {"by": "hpa", "maxReplicas": 1}
    },
    "autoscaling needs a signal": {"autoscaling": {"by": "hpa", "windowsQueued": 0, "cpuPercent": 0}},
    "autoscaling.windowsQueued needs settings.metrics_port": {
        "autoscaling": {"by": "hpa"},
        "settings": {"metrics_port": 0},
    },
    "autoscaling.cpuPercent is a percentage of resources.requests.cpu": {
        "autoscaling": {"by": "hpa"},
        "resources": {"requests": {"cpu": None}},
    },
    "autoscaling.windowsQueued (20000) is never reached": {"autoscaling": {"by": "hpa", "windowsQueued": 20_000}},
    "autoscaling.prometheusAddress must be the URL of the Prometheus": {"autoscaling": {"by": "keda"}},
    "no node could ever be drained": {"podDisruptionBudget": {"maxUnavailable": 0}},
    "ingress.enabled needs ingress.hosts": {"ingress": {"enabled": True}},
    "gateway.http and gateway.grpc need gateway.parentRefs": {"gateway": {"grpc": True}},
    "gateway.grpc and ingress.grpcHosts need settings.grpc_port": {
        "gateway": {"grpc": True, "parentRefs": _GATEWAY},
        "settings": {"grpc_port": 0},
    },
    "monitoring.serviceMonitor and monitoring.alerts need settings.metrics_port": {
        "monitoring": {"alerts": {"enabled": True}},
        "settings": {"metrics_port": 0},
    },
    "networkPolicy.enabled blocks the object store": {"models": {"source": "bucket", "address": "s3://bucket/models"}},
    "networkPolicy.enabled blocks settings.otlp_endpoint": {"settings": {"otlp_endpoint": "http://collector:4317"}},
    "The training job one needs training.runsClaimName": {"training": {"jobs": {"one": _JOB}}},
    "The training job one has no repository to publish to": {
        "training": {"runsClaimName": "runs", "jobs": {"one": _JOB}}
    },
    "The training job one has more processes (2) than GPUs (1) in each pod": {
        "training": {
            "runsClaimName": "runs",
            "jobs": {"one": {"stage": "pretrain", "recipe": "smoke", "processes": 2, "gpus": 1}},
        }
    },
    "The training job one has more GPUs (2) than processes (1) in each pod": {
        "training": {
            "runsClaimName": "runs",
            "jobs": {"one": {"stage": "pretrain", "recipe": "smoke", "gpus": 2}},
        }
    },
}

NONSENSE: dict[str, dict[str, Any]] = {
    "/replicaCount": {"replicaCount": 0},
    "replicas": {"replicas": 3},
    "max_frame": {"settings": {"max_frame": 1}},
    "/settings/log_level": {"settings": {"log_level": "loud"}},
    "/settings/deadline_s": {"settings": {"deadline_s": 0}},
    "/settings/port": {"settings": {"port": 65_536}},
    "/settings/admin": {"settings": {"admin": "yes"}},
    "/image/digest": {"image": {"digest": "abc"}},
    "/image/repository": {"image": {"repository": "Poselift:1"}},
    "/models/source": {"models": {"source": "s3"}},
    "/models/address": {"models": {"address": "/models"}},
    "/redis/url": {"redis": {"url": "localhost:6379"}},
    "/security/runAsUser": {"security": {"runAsUser": 0}},
    "/resources/limits/memory": {"resources": {"limits": {"memory": "much"}}},
    "/autoscaling/by": {"autoscaling": {"by": "vpa"}},
    "/podDisruptionBudget/maxUnavailable": {"podDisruptionBudget": {"maxUnavailable": "half"}},
    "/monitoring/alerts/latencySeconds": {"monitoring": {"alerts": {"latencySeconds": 0.3}}},
    "/ingress/hosts/0": {"ingress": {"hosts": ["https://example.org"]}},
    "/training/jobs/one": {"training": {"jobs": {"one": {"stage": "pretrain"}}}},
    "/training/jobs/one/overrides/0": {"training": {"jobs": {"one": {**_JOB, "overrides": ["steps"]}}}},
}


def refusal(values: dict[str, Any]) -> tuple[int, str]:
    """The line of refusals.yaml that values stop at, and what it says."""
    with pytest.raises(helm_python.HelmRenderError) as refused:
        render(values)
    found = re.fullmatch(r".*templates/refusals\.yaml:(\d+):\d+\): (.*)", str(refused.value))
    assert found is not None, refused.value
    return int(found[1]), found[2]


@pytest.mark.parametrize("sentence", REFUSED)
def test_combinations_that_cannot_work_are_refused(sentence: str):
    _, said = refusal(REFUSED[sentence])
    assert sentence in said
    assert said.endswith(".")


def test_every_refusal_is_tried():
    lines = (CHART / "templates" / "refusals.yaml").read_text().splitlines()
    refusing = {number for number, line in enumerate(lines, 1) if "{{- fail " in line}
    assert {refusal(values)[0] for values in REFUSED.values()} == refusing


@pytest.mark.parametrize("place", NONSENSE)
def test_nonsense_is_refused_by_the_schema(place: str):
    with pytest.raises(helm_python.HelmValuesError) as refused:
        render(NONSENSE[place])
    assert place in str(refused.value)


def test_what_is_tried_is_otherwise_taken():
    for values in VALUE_SETS.values():
        assert render(values)
