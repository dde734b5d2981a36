"""What the chart makes of every set of values, on every version of Kubernetes that it is for."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml
from poselift_service.settings import Settings

from helm.package import package
from tests.chart.rendering import (
    CHART,
    NAME,
    REPOSITORY,
    VALUE_SETS,
    Manifest,
    one,
    pods,
    render,
    rendered_set,
    rendered_texts,
)

KUBERNETES = [f"1.{minor}" for minor in range(27, 38)]
# Their schemas are those of the package of npm, checked by crds.mjs.
CRDS = {"ServiceMonitor", "PrometheusRule", "ScaledObject", "HTTPRoute", "GRPCRoute"}
# What a selector was in the first version of the chart; a Deployment's can never be changed.
SELECTOR = {"app.kubernetes.io/name": "poselift", "app.kubernetes.io/instance": "demo"}
TALLEST_TEMPLATE, MOST_VALUES = 150, 450
CRD_CHECK_S = 120
every_set = pytest.mark.parametrize("values", VALUE_SETS)


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@every_set
def test_every_object_is_valid(values: str, kubernetes: str):
    for manifest in render(VALUE_SETS[values], kubernetes=kubernetes):
        try:
            kubernetes_validate.validate(manifest, kubernetes, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            assert manifest["kind"] in CRDS, f"Kubernetes {kubernetes} does not know {manifest['apiVersion']}"


@pytest.mark.skipif(
    not (CHART / "../../build/crds/node_modules").is_dir(), reason="the schemas of CRDs are not here (make chart, npm)"
)
def test_every_custom_object_is_valid(tmp_path: Path):
    custom = [manifest for name in VALUE_SETS for manifest in rendered_set(name) if manifest["kind"] in CRDS]
    assert {manifest["kind"] for manifest in custom} == CRDS
    assert _crd_errors(custom, tmp_path) == ""
    # The check itself finds something.
    broken = one(custom, "ScaledObject") | {"spec": {"triggers": "none"}}
    assert "triggers" in _crd_errors([broken], tmp_path)


def _crd_errors(manifests: list[Manifest], folder: Path) -> str:
    file = folder / "rendered.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    # From where its packages are.
    script = CHART.parents[1] / "build" / "crds" / "crds.mjs"
    shutil.copy(Path(__file__).with_name("crds.mjs"), script)
    command = ["node", str(script), str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=CRD_CHECK_S, check=False).stderr


def test_lint_finds_nothing():
    for values in VALUE_SETS.values():
        found = helm_python.lint(CHART, values, strict=True)
        assert [message for message in found["messages"] if "icon" not in message["error"]] == []


def test_every_version_of_kubernetes_that_is_taken_is_tried():
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"] == f">={KUBERNETES[0]}.0-0"


@every_set
def test_names_are_unique_and_short(values: str):
    manifests = rendered_set(values)
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(names) == len(set(names))
    assert all(len(name) <= 63 for _, name in names)
    assert {manifest["metadata"]["namespace"] for manifest in manifests} == {"prod"}
    for manifest in manifests:
        assert manifest["metadata"]["labels"].items() >= SELECTOR.items(), manifest["kind"]


def test_long_names_are_cut():
    for manifest in render({**VALUE_SETS["training"], "nameOverride": "n" * 63}):
        # The pods of an indexed Job add their index.
        assert len(manifest["metadata"]["name"]) <= (60 if manifest["kind"] == "Job" else 63)


@every_set
def test_selectors_never_change(values: str, tmp_path: Path):
    chart = tmp_path / "poselift"
    shutil.copytree(CHART, chart)
    about = chart / "Chart.yaml"
    about.write_text(about.read_text().replace("ersion: 0.1.0", "ersion: 7.3.1"))
    changed = {**VALUE_SETS[values], "commonLabels": {"new": "label"}, "podLabels": {"more": "labels"}}
    selectors = _selectors(rendered_set(values))
    assert _selectors(tuple(render(changed, chart=chart))) == selectors
    for (kind, _), selector in selectors.items():
        component = selector.pop("app.kubernetes.io/component")
        assert (selector, component in {"server", "redis", "training"}) == (SELECTOR, True), kind


def _selectors(manifests: tuple[Manifest, ...]) -> dict[tuple[str, str], dict[str, str]]:
    found = {}
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if selector := spec.get("selector") or spec.get("podSelector"):
            found[manifest["kind"], manifest["metadata"]["name"]] = dict(selector.get("matchLabels", selector))
    return found


@every_set
def test_every_selector_finds_something(values: str):
    manifests = rendered_set(values)
    labels = [pod["metadata"]["labels"] for _, pod in pods(manifests)]
    services = [manifest["metadata"]["labels"] for manifest in manifests if manifest["kind"] == "Service"]
    for (kind, name), selector in _selectors(manifests).items():
        looked_through = services if kind == "ServiceMonitor" else labels
        assert any(selector.items() <= found.items() for found in looked_through), (kind, name)
    monitored = [found for found in services if found["app.kubernetes.io/component"] == "server"]
    assert len(monitored) == 1, "a pod would be scraped twice"


@every_set
def test_an_autoscaler_alone_says_how_many(values: str):
    manifests = rendered_set(values)
    scaled = any(manifest["kind"] in ("HorizontalPodAutoscaler", "ScaledObject") for manifest in manifests)
    deployment = one(manifests, "Deployment")
    assert ("replicas" in deployment["spec"]) != scaled
    for manifest in manifests:
        if manifest["kind"] in ("HorizontalPodAutoscaler", "ScaledObject"):
            assert manifest["spec"]["scaleTargetRef"]["name"] == NAME


@every_set
def test_no_pod_is_missing_while_another_replaces_it(values: str):
    strategy = one(rendered_set(values), "Deployment")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


@every_set
def test_a_pod_has_time_to_finish(values: str):
    pod = one(rendered_set(values), "Deployment")["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    order, waits_s = server["lifecycle"]["preStop"]["exec"]["command"]
    grace_s = float(environment(rendered_set(values))["POSELIFT_GRACE_S"])
    assert order == "sleep"
    assert pod["terminationGracePeriodSeconds"] > int(waits_s) + grace_s


@every_set
def test_containers_may_do_as_little_as_possible(values: str):
    for name, pod in pods(rendered_set(values)):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            image, _, tag = container["image"].partition("@")[0].rpartition(":")
            assert image, container["image"]
            assert tag not in ("", "latest")
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= {volume["name"] for volume in spec["volumes"]}


@every_set
def test_the_server_takes_its_settings(values: str, monkeypatch: pytest.MonkeyPatch):
    """Every variable is a setting, and the server starts with what they say."""
    for name, value in environment(rendered_set(values)).items():
        monkeypatch.setenv(name, value)
        assert name == "XDG_CACHE_HOME" or name.removeprefix("POSELIFT_").lower() in Settings.model_fields
    settings = Settings()
    given = VALUE_SETS[values].get("settings", {})
    for name, value in given.items():
        found = getattr(settings, name)
        assert (list(found) if isinstance(value, list) else found) == value


def environment(manifests: tuple[Manifest, ...]) -> dict[str, str]:
    """What the server's container gets, with a stand-in for what comes from Secrets."""
    (server,) = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    secret = {env["name"]: "redis://stand-in" for env in server.get("env", []) if "valueFrom" in env}
    written: dict[str, str] = one(manifests, "ConfigMap")["data"]
    assert all(isinstance(value, str) for value in written.values())
    return {**written, **secret}


def test_without_values_the_server_has_its_own_defaults(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in os.environ if name.startswith("POSELIFT_")]:
        monkeypatch.delenv(name)
    default = Settings()
    for name, value in environment(rendered_set("defaults")).items():
        monkeypatch.setenv(name, value)
    own = {"host", "models", "redis_url"}
    assert Settings().model_dump(exclude=own) == default.model_dump(exclude=own)


@every_set
def test_ports_have_the_names_that_others_call_them_by(values: str):
    manifests = rendered_set(values)
    for manifest in manifests:
        if manifest["kind"] != "Service" or manifest["spec"].get("publishNotReadyAddresses"):
            continue
        (pod,) = (
            pod["spec"]
            for _, pod in pods(manifests)
            if manifest["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        )
        there = {port["name"] for port in pod["containers"][0]["ports"]}
        assert {port["targetPort"] for port in manifest["spec"]["ports"]} <= there
    (server,) = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    there = {port["name"] for port in server["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert "exec" in server[probe] or server[probe]["httpGet"]["port"] in there


@every_set
def test_every_pod_is_under_a_policy(values: str):
    manifests = rendered_set(values)
    if VALUE_SETS[values].get("networkPolicy", {}).get("enabled") is False:
        assert not [manifest for manifest in manifests if manifest["kind"] == "NetworkPolicy"]
        return
    policies = [manifest["spec"] for manifest in manifests if manifest["kind"] == "NetworkPolicy"]
    for name, pod in pods(manifests):
        (policy,) = (
            policy
            for policy in policies
            if policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        )
        assert policy["policyTypes"] == ["Ingress", "Egress"], name
        assert not [rule for rule in policy.get("egress", []) if not rule]


def test_only_pods_of_the_namespace_are_let_in():
    for policy in (manifest for manifest in rendered_set("defaults") if manifest["kind"] == "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            assert rule["from"], "an empty list would let in everybody"
            assert all(peer.keys() == {"podSelector"} for peer in rule["from"])


def test_the_trial_redis_has_a_password_of_its_own():
    passwords = set()
    for _ in range(2):
        manifests = render()
        secret = one(manifests, "Secret", f"{NAME}-redis")["stringData"]
        assert secret["url"] == f"redis://:{secret['password']}@{NAME}-redis:6379"
        passwords.add(secret["password"])
        (server,) = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
        given = {env["name"]: env["valueFrom"]["secretKeyRef"] for env in server["env"]}
        assert given == {"POSELIFT_REDIS_URL": {"name": f"{NAME}-redis", "key": "url"}}
        (redis,) = dict(pods(manifests))[f"{NAME}-redis"]["spec"]["containers"]
        assert redis["args"][redis["args"].index("--requirepass") + 1] == "$(PASSWORD)"
        assert redis["env"][0]["valueFrom"]["secretKeyRef"] == {"name": f"{NAME}-redis", "key": "password"}
    assert len(passwords) == 2
    assert min(map(len, passwords)) >= 32


def test_the_canary_gets_its_share():
    for kind in ("HTTPRoute", "GRPCRoute"):
        (rule,) = one(rendered_set("keda behind a gateway with TLS"), kind)["spec"]["rules"]
        assert [(backend["name"], backend["weight"]) for backend in rule["backendRefs"]] == [
            (NAME, 90),
            ("next-poselift", 10),
        ]


def test_with_certificates_of_clients_probes_look_at_the_metrics():
    (server,) = one(rendered_set("keda behind a gateway with TLS"), "Deployment")["spec"]["template"]["spec"][
        "containers"
    ]
    for probe, word in (("readinessProbe", "poselift_ready"), ("livenessProbe", "not told")):
        command = server[probe]["exec"]["command"]
        assert command[:2] == ["python", "-c"]
        compile(command[2], "probe", "exec")
        assert word in command[2]


def test_a_job_that_does_something_else_is_another_job():
    training: dict[str, Any] = VALUE_SETS["training"]
    names = {name for name, _ in pods(rendered_set("training"))}
    assert {name for name, _ in pods(render(training))} == names
    changed = {**training, "training": {**training["training"], "image": {"tag": "2"}}}
    assert {name for name, _ in pods(render(changed))} & names == {NAME, f"{NAME}-redis"}


def test_pods_that_train_together_find_the_first():
    manifests = rendered_set("training")
    job = next(manifest for manifest in manifests if "-large-" in manifest["metadata"]["name"])
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    headless = one(manifests, "Service", f"{NAME}-training")
    assert (pod["subdomain"], headless["spec"]["clusterIP"]) == (headless["metadata"]["name"], "None")
    assert env["POSELIFT_FIRST_POD"] == f"{job['metadata']['name']}-0.{pod['subdomain']}"
    assert (job["spec"]["completionMode"], job["spec"]["completions"], job["spec"]["parallelism"]) == ("Indexed", 4, 4)
    assert "--override=publish.repository=/models" in container["args"]
    assert container["resources"]["limits"] == {"memory": "64Gi", "nvidia.com/gpu": "8"}


def test_pods_that_train_together_may_have_rdma_devices():
    rdma = {"rdma/hca_shared_devices_a": "1"}
    job = {"stage": "pretrain", "recipe": "smoke-pretrain", "nodes": 2, "gpus": 1, "resources": {"limits": rdma}}
    manifests = render({"training": {"runsClaimName": "runs", "jobs": {"one": job}}})
    (pod,) = (found["spec"]["template"]["spec"] for found in manifests if found["kind"] == "Job")
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"} | rdma


@pytest.mark.parametrize(("device", "expected"), [("auto", "cuda"), ("cuda", "cuda")])
def test_a_server_with_a_gpu_uses_it_and_has_memory_for_its_libraries(device: str, expected: str):
    manifests = render({"gpu": {"count": 1}, "settings": {"device": device}})
    assert one(manifests, "ConfigMap", NAME)["data"]["POSELIFT_DEVICE"] == expected
    (server,) = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert server["resources"] == {
        "requests": {"cpu": "1", "memory": "6Gi"},
        "limits": {"memory": "6Gi", "nvidia.com/gpu": "1"},
    }


def test_a_server_without_a_gpu_chooses_for_itself():
    manifests = render({})
    assert one(manifests, "ConfigMap", NAME)["data"]["POSELIFT_DEVICE"] == "auto"
    (server,) = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert server["resources"]["limits"] == {"memory": "2Gi"}


def test_a_package_has_the_same_digest_each_time(tmp_path: Path):
    digests = set()
    for number in range(2):
        chart = tmp_path / str(number) / "poselift"
        shutil.copytree(CHART, chart)
        for file in chart.rglob("*"):
            os.utime(file, (number * 1e9, number * 1e9))
        packed = package(chart, tmp_path / str(number))
        digests.add(helm_python.digest(packed))
        with helm_python.Chart.load(packed) as loaded:
            assert loaded.metadata["version"] == "0.1.0"
    assert len(digests) == 1


def test_templates_and_values_stay_small():
    for template in (CHART / "templates").iterdir():
        assert len(template.read_text().splitlines()) <= TALLEST_TEMPLATE, template.name
    assert len((CHART / "values.yaml").read_text().splitlines()) <= MOST_VALUES


@every_set
def test_notes_say_how_to_try_it(values: str):
    (notes,) = (text for name, text in rendered_texts(VALUE_SETS[values]).items() if name.endswith("NOTES.txt"))
    assert f"rollout status deployment/{NAME}" in notes
    assert "%!" not in notes
    assert "<no value>" not in notes
    tls = "tls" in VALUE_SETS[values]
    assert (("-k" in notes), ("https://127.0.0.1:8000/lift" in notes)) == (tls, tls)
    assert ("which loses them" in notes) == any(name == f"{NAME}-redis" for name, _ in pods(rendered_set(values)))


def test_the_alerts_of_compose_are_those_of_the_chart():
    values = {"monitoring": {"alerts": {"enabled": True}}}
    (rules,) = (found for found in render(values, namespace="compose") if found["kind"] == "PrometheusRule")
    groups = json.loads(json.dumps(rules["spec"]["groups"]).replace(NAME, "poselift"))
    assert yaml.safe_load((REPOSITORY / "docker" / "alerts.yml").read_text())["groups"] == groups
    config = yaml.safe_load((REPOSITORY / "docker" / "prometheus.yml").read_text())
    (scraped,) = config["scrape_configs"]
    selectors = set(re.findall(r'namespace="(\w+)",job="(\w+)"', json.dumps(groups).replace('\\"', '"')))
    assert selectors == {(scraped["static_configs"][0]["labels"]["namespace"], scraped["job_name"])}
