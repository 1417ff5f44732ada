"""The variables of OpenTelemetry: whether traces are on, and whether the SDK would understand the others.

The SDK reads the variables itself. It replaces a value that it cannot use by its default: with a misspelt ratio it
would trace every request.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
INSTALL = "traces need more packages: pip install 'dropzero[otel]', or unset it"

SAMPLERS = ("always_on", "always_off", "traceidratio")


class InvalidVariable(ValueError):
    """A variable of OpenTelemetry cannot be used; the message names it."""


def endpoint_variable(environment: Mapping[str, str]) -> str | None:
    """The name of the variable that switches traces on; None where traces are off. Raises InvalidVariable."""
    name = next((name for name in (TRACES_ENDPOINT, ENDPOINT) if _value(environment, name)), None)
    off = _value(environment, "OTEL_SDK_DISABLED") == "true" or _value(environment, "OTEL_TRACES_EXPORTER") == "none"
    if name is None or off:
        return None
    _check_url(name, environment[name].strip())
    _check_protocol(environment)
    _check_sampler(environment)
    return name


def _value(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, "").strip().lower()


def _check_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:  # the value itself may have a secret
        raise InvalidVariable(f"{name}: expected the URL of a collector, such as http://127.0.0.1:4318")


def _check_protocol(environment: Mapping[str, str]) -> None:
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = _value(environment, name)
        if protocol == "http/protobuf":
            return
        if protocol:
            raise InvalidVariable(
                f"{name}: expected http/protobuf, which collectors receive at port 4318, not {protocol[:40]!r}"
            )


def _check_sampler(environment: Mapping[str, str]) -> None:
    name, ratio_name = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
    sampler = _value(environment, name)
    if sampler and sampler.removeprefix("parentbased_") not in SAMPLERS:
        known = ", ".join((*SAMPLERS, *(f"parentbased_{each}" for each in SAMPLERS)))
        raise InvalidVariable(f"{name}: expected one of {known}, not {sampler[:40]!r}")
    if sampler.endswith("traceidratio"):
        ratio = _value(environment, ratio_name)
        if not _is_share(ratio):
            raise InvalidVariable(f"{ratio_name}: expected a share of all requests, such as 0.01, not {ratio[:40]!r}")


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
