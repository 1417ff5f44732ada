"""OpenTelemetry's variables: what is refused at the start, and what is needed."""

import sys

import pytest

from api.app import new_tracing
from api.settings import InvalidSettings, read_settings
from api.tracing.variables import Sampling

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_SAMPLER": "nonsense"},
    ],
)
def test_traces_are_off(environment: dict[str, str]) -> None:
    assert read_settings(environment).tracing is None


@pytest.mark.parametrize(
    ("variables", "sampling"),
    [
        ({}, Sampling()),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, Sampling(0.0, parent_based=False)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}, Sampling(0.01)),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_SERVICE_NAME": "shop"}, Sampling()),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, Sampling()),
    ],
)
def test_traces_are_on(variables: dict[str, str], sampling: Sampling) -> None:
    assert read_settings({**ENDPOINT, **variables}).tracing == sampling
    assert read_settings({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c.example/v1/traces", **variables}).tracing


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318?key=hunter2"},
            "OTEL_EXPORTER_OTLP_ENDPOINT: expected the URL of a collector",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[hunter2"}, "OTEL_EXPORTER_OTLP_ENDPOINT: expected the URL"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf, .* not 'grpc'"),
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, "OTEL_TRACES_SAMPLER: expected always_on, .* not 'jaeger_remote'"),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1%"},
            "OTEL_TRACES_SAMPLER_ARG: expected a share .* not '1%'",
        ),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, "OTEL_TRACES_SAMPLER_ARG: expected a share .* not ''"),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan"},
            "OTEL_TRACES_SAMPLER_ARG: expected a share",
        ),
        ({"DROPZERO_LOG": "xml"}, "DROPZERO_LOG: expected text or json, not 'xml'"),
    ],
)
def test_a_value_that_the_sdk_would_misread_is_refused_by_its_name(variables: dict[str, str], complaint: str) -> None:
    with pytest.raises(InvalidSettings, match=f"^{complaint}") as refused:
        read_settings({**ENDPOINT, **variables})
    assert "hunter2" not in str(refused.value)


def test_without_the_packages_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    for name in ("api.tracing.tracing", "api.tracing.export"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in [name for name in sys.modules if name.startswith("opentelemetry.exporter.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InvalidSettings, match=r"^OTEL_EXPORTER_OTLP_ENDPOINT: .*pip install 'dropzero\[otel\]'"):
        new_tracing(read_settings(ENDPOINT))
