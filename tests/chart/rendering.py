"""Renders the chart with Helm's own engine, and the values that the tests render it with."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import yaml
from helm_python import _native

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "helm" / "poselift"
RELEASE, NAMESPACE = "demo", "prod"
NAME = f"{RELEASE}-poselift"

Manifest = dict[str, Any]

_GATEWAY = {"name": "public", "namespace": "gateways"}
_TO_THE_STORE = {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"protocol": "TCP", "port": 443}]}
_JOB = {"stage": "finetune", "recipe": "pstmo-tiny-27", "overrides": ["data.root=/data/mocap_open"]}


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


# One set of values for each way in which the chart is meant to be used.
VALUE_SETS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "single pod without Redis": {
        "replicaCount": 1,
        "redis": {"trial": {"enabled": False}},
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "topologySpreadKeys": [],
        "serviceAccount": {"create": False},
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}, "headless": False},
        "security": {"fsGroup": None},
    },
    "production": {
        "image": {"digest": f"sha256:{'0' * 64}", "pullSecrets": ["registry"]},
        "commonLabels": {"team": "pose"},
        "redis": {"existingSecret": {"name": "redis"}},
        "networkPolicy": {"from": [_namespace("ingress-nginx")], "metricsFrom": [_namespace("monitoring")]},
        "autoscaling": {"by": "hpa"},
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "hosts": ["lift.example.org"],
            "tlsSecretName": "lift",
            "grpcHosts": ["grpc.example.org"],
            "grpcAnnotations": {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"},
        },
        "monitoring": {
            "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "alerts": {"enabled": True, "labels": {"release": "prometheus"}, "alertLabels": {"team": "pose"}},
            "dashboard": {"enabled": True},
        },
        "nodeSelector": {"pool": "lifting"},
        "tolerations": [{"key": "lifting", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "podAnnotations": {"c": "d"},
        "podLabels": {"e": "f"},
        "settings": {"cors_origins": ["https://example.org", "https://example.com"], "deadline_s": 2.5},
    },
    "keda behind a gateway with TLS": {
        "autoscaling": {"by": "keda", "prometheusAddress": "http://prometheus.monitoring:9090"},
        "gateway": {
            "http": True,
            "grpc": True,
            "parentRefs": [_GATEWAY],
            "hostnames": ["lift.example.org"],
            "canary": {"serviceName": "next-poselift", "percent": 10},
        },
        "redis": {"url": "redis+cluster://redis-0:6379,redis-1:6379"},
        "networkPolicy": {
            "from": [_namespace("gateways")],
            "redisPorts": [6379, 6380],
            "redisTo": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
        },
        "tls": {"existingSecret": "certificate", "clientCa": {"name": "authorities"}},
        "apiKeys": {"existingSecret": {"name": "keys"}},
    },
    "GPU with models on a volume and admin": {
        "gpu": {"count": 1, "runtimeClassName": "nvidia"},
        "image": {"tag": "0.1.0-cuda"},
        "models": {"source": "volume", "volume": {"claimName": "models", "subPath": "served", "readOnly": False}},
        "settings": {
            "precision": "tf32",
            "admin": True,
            "default_model": "pose@stable",
            "load": ["pose@stable", "pose@canary"],
        },
        "admin": {"existingSecret": {"name": "admin"}},
    },
    "models read from a bucket, with traces": {
        "models": {"source": "bucket", "address": "s3://bucket/models"},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/models"}},
        "extraEnv": [{"name": "OTEL_TRACES_SAMPLER", "value": "parentbased_always_on"}],
        "extraEnvFrom": [{"secretRef": {"name": "store"}}],
        "settings": {"otlp_endpoint": "http://collector:4317"},
        "networkPolicy": {"extraEgress": [_TO_THE_STORE]},
    },
    "models copied from a bucket": {
        "models": {"source": "copy", "address": "s3://bucket/models", "only": ["pose@stable"]},
        "extraEnvFrom": [{"secretRef": {"name": "store"}}],
        "networkPolicy": {"extraEgress": [_TO_THE_STORE]},
    },
    "HTTP alone": {"settings": {"grpc_port": 0, "metrics_port": 0}},
    "training": {
        "models": {"source": "volume", "volume": {"claimName": "models"}},
        "gpu": {"runtimeClassName": "nvidia"},
        "training": {
            "dataClaimName": "data",
            "runsClaimName": "runs",
            "jobs": {
                "tiny": _JOB,
                "first-stage": {"stage": "pretrain", "recipe": "pstmo-tiny-27-pretrain", "processes": 2, "retries": 0},
                "large": {
                    **_JOB,
                    "nodes": 4,
                    "processes": 8,
                    "gpus": 8,
                    "resources": {"requests": {"cpu": "16", "memory": "64Gi"}, "limits": {"memory": "64Gi"}},
                    "nodeSelector": {"pool": "training"},
                    "tolerations": [{"operator": "Exists"}],
                },
            },
        },
    },
}


def render(
    values: dict[str, Any] | None = None,
    *,
    kubernetes: str = "1.31",
    chart: Path = CHART,
    namespace: str = NAMESPACE,
) -> list[Manifest]:
    """All objects of a release.

    Raises:
        helm_python.HelmValuesError: the values breach the schema.
        helm_python.HelmRenderError: the chart refuses them.
    """
    texts = rendered_texts(values, kubernetes=kubernetes, chart=chart, namespace=namespace)
    return [found for name, text in sorted(texts.items()) if name.endswith(".yaml") for found in _objects(text)]


def rendered_texts(
    values: dict[str, Any] | None = None,
    *,
    kubernetes: str = "1.31",
    chart: Path = CHART,
    namespace: str = NAMESPACE,
) -> dict[str, str]:
    """What every template becomes, by its name."""
    with helm_python.Chart.load(chart) as loaded:
        options = {"name": RELEASE, "namespace": namespace, "kube_version": f"v{kubernetes}.0", "api_versions": []}
        # The library's own `render` takes no version of Kubernetes.
        text = _native.call_string("helm_render", loaded._raw(), json.dumps(values or {}), json.dumps(options))
    rendered: dict[str, str] = json.loads(text)
    return rendered


@functools.cache
def rendered_set(name: str) -> tuple[Manifest, ...]:
    """The objects of one of the value sets."""
    return tuple(render(VALUE_SETS[name]))


def _objects(text: str) -> Iterator[Manifest]:
    return (found for found in yaml.safe_load_all(text) if found)


def one(manifests: list[Manifest] | tuple[Manifest, ...], kind: str, name: str = NAME) -> Manifest:
    """The object of that kind and name."""
    (found,) = (manifest for manifest in manifests if (manifest["kind"], manifest["metadata"]["name"]) == (kind, name))
    return found


def pods(manifests: list[Manifest] | tuple[Manifest, ...]) -> list[tuple[str, Manifest]]:
    """The pod templates, with the names of the objects that have them."""
    return [
        (manifest["metadata"]["name"], manifest["spec"]["template"])
        for manifest in manifests
        if manifest["kind"] in ("Deployment", "Job")
    ]
