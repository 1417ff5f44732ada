"""The variables of OpenTelemetry: whether traces are on, which requests are traced, and what the SDK would misread.

The SDK reads the variables of its queue and of its exporter itself. Where it replaces a value that it cannot use by its
default, the value is refused here: with a misspelt share it would trace every request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
INSTALL = "traces need more packages: pip install 'dropzero[otel]', or unset it"

SAMPLER, SHARE = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
PARENT_BASED = "parentbased_"


class InvalidVariable(ValueError):
    """A variable of OpenTelemetry cannot be used; the message names it."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which requests are traced: a `share` from 0 to 1. `parent_based`: a request with a trace of its client is traced
    if its client traces it, and else is not."""

    share: float = 1.0
    parent_based: bool = True


def read_sampling(environment: Mapping[str, str]) -> Sampling | None:
    """Read which requests are traced; None where traces are off. Raises InvalidVariable."""
    name = next((name for name in (TRACES_ENDPOINT, ENDPOINT) if _value(environment, name)), None)
    off = _value(environment, "OTEL_SDK_DISABLED") == "true" or _value(environment, "OTEL_TRACES_EXPORTER") == "none"
    if name is None or off:
        return None
    _check_url(name, environment[name].strip())
    _check_protocol(environment)
    return _read_sampler(environment)


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


def _read_sampler(environment: Mapping[str, str]) -> Sampling:
    sampler = _value(environment, SAMPLER) or f"{PARENT_BASED}always_on"
    root = sampler.removeprefix(PARENT_BASED)
    if root not in ("always_on", "always_off", "traceidratio"):
        raise InvalidVariable(
            f"{SAMPLER}: expected always_on, always_off or traceidratio, each also with {PARENT_BASED} before it, not "
            f"{sampler[:40]!r}"
        )
    share = {"always_on": 1.0, "always_off": 0.0}.get(root)
    return Sampling(_read_share(environment) if share is None else share, sampler != root)


def _read_share(environment: Mapping[str, str]) -> float:
    text = _value(environment, SHARE)
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InvalidVariable(f"{SHARE}: expected a share of all requests, such as 0.01, not {text[:40]!r}")
    return share
