from pathlib import Path
from typing import Any

import pytest
from poselift_service.__main__ import main
from poselift_service.settings import Settings, explain, unknown_variable
from pydantic import ValidationError


def test_the_environment_sets_what_is_not_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("POSELIFT_PORT", "9000")
    monkeypatch.setenv("POSELIFT_HOST", "0.0.0.0")
    settings = Settings(host="::1")
    assert (settings.port, settings.host) == (9000, "::1")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"deadline_s": 40, "grace_s": 35}, ("grace_s", "deadline_s")),
        ({"max_frames": 20_000, "max_windows_queued": 20_000}, ("max_windows_queued", "max_frames")),
        ({"port": 8002}, ("port", "metrics_port")),
        ({"port": 8001}, ("port", "grpc_port")),
        ({"grpc_port": 8002}, ("grpc_port", "metrics_port")),
        ({"port": 70_000}, ("port",)),
        ({"deadline_s": 0}, ("deadline_s",)),
        ({"grace_s": float("inf")}, ("grace_s",)),
        ({"device": "tpu"}, ("device",)),
        ({"engine": "onnx"}, ("engine",)),
        ({"threads": -1}, ("threads",)),
        ({"session_ttl_s": 0}, ("session_ttl_s",)),
        ({"session_store_timeout_s": float("inf")}, ("session_store_timeout_s",)),
        ({"admin": True, "host": "0.0.0.0"}, ("admin_key", "0.0.0.0")),
        ({"admin": True, "host": "models.local"}, ("admin_key", "models.local")),
        ({"admin": True, "api_keys_file": "keys"}, ("admin_key", "api_keys_file")),
        ({"admin": True, "cors_origins": "*"}, ("admin_key", "cors_origins")),
        ({"admin_key": "k"}, ("admin_key", "16 characters")),
        ({"prot": 1}, ("prot",)),
        ({"tls_key": "key.pem"}, ("tls_certificate", "tls_key")),
        ({"tls_certificate": "certificate.pem"}, ("tls_certificate", "tls_key")),
        ({"tls_client_ca": "ca.pem"}, ("tls_client_ca", "tls_certificate")),
        ({"max_connections": 0}, ("max_connections",)),
        ({"stall_timeout_s": 0}, ("stall_timeout_s",)),
        ({"cors_origins": "[1"}, ("cors_origins",)),
        ({"load": "[]]"}, ("load",)),
        ({"trusted_proxies": "10.0.0.1,ingress.local"}, ("trusted_proxies", "ingress.local")),
        ({"root_path": "poselift"}, ("root_path",)),
        ({"root_path": "/poselift/"}, ("root_path",)),
    ],
)
def test_nonsense_is_refused_in_one_sentence_that_names_the_setting(given: dict[str, Any], names: tuple[str, ...]):
    with pytest.raises(ValidationError) as refusal:
        Settings(**given)
    sentence = explain(refusal.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert all(name in sentence for name in names)


@pytest.mark.parametrize(
    "given",
    [
        {"host": "127.0.0.1"},
        {"host": "::1"},
        {"host": "localhost"},
        {"host": "0.0.0.0", "admin_key": "the key of the operator"},
        {"admin_key": "the key of the operator", "api_keys_file": "keys"},
    ],
)
def test_models_may_be_changed_where_only_the_operator_can(given: dict[str, Any]):
    assert Settings(admin=True, **given).admin


# Those of any text.
LISTS = [name for name, field in Settings.model_fields.items() if field.annotation == tuple[str, ...]]
LISTS.remove("trusted_proxies")


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    ("written", "read"),
    [("", ()), ("a", ("a",)), ("*", ("*",)), ("a@stable, b@2,", ("a@stable", "b@2")), ('["a", "b"]', ("a", "b"))],
)
def test_lists_are_written_with_commas(name: str, written: str, read: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(f"POSELIFT_{name.upper()}", written)
    assert getattr(Settings(), name) == read


def test_load_and_cors_origins_are_lists():
    assert {"load", "cors_origins"} <= set(LISTS)


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("POSELIFT_API_KEY_FILE", "POSELIFT_API_KEYS_FILE"),
        ("POSELIFT_ADMINKEY", "POSELIFT_ADMIN_KEY"),
        ("poselift_tls_certificates", "POSELIFT_TLS_CERTIFICATE"),
        ("POSELIFT_", "POSELIFT_"),
    ],
)
def test_a_misspelt_variable_stops_the_server(
    variable: str, nearest: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv(variable, "keys")
    assert main() == 2
    sentence = capsys.readouterr().err
    assert sentence.count("\n") == 1
    assert f"variable {variable} " in sentence
    assert f"is {nearest}" in sentence


def test_variables_of_the_settings_and_of_others_are_known():
    ours = [f"POSELIFT_{name.upper()}" for name in Settings.model_fields]
    assert unknown_variable([*ours, *map(str.lower, ours), "PATH", "MY_POSELIFT_PORT"]) is None


def test_models_may_lie_in_a_folder_or_at_an_address(monkeypatch: pytest.MonkeyPatch):
    assert Settings(models=Path("/models")).models == Path("/models")
    monkeypatch.setenv("POSELIFT_MODELS", "s3://bucket/models")
    assert Settings().models == "s3://bucket/models"


def test_models_are_found_where_no_repository_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("POSELIFT_MODELS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert list(Path(Settings().models).glob("*/*/manifest.json"))


def test_every_setting_says_what_it_is():
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(ValidationError):
        setattr(Settings(), "port", 1)  # noqa: B010


def test_a_password_is_not_shown():
    settings = Settings(redis_url="redis://:pass-word@localhost", admin_key="pass-word-of-the-operator")
    assert "pass-word" not in repr(settings)
