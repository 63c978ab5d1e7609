"""Whether the environment wants telemetry. Standard library only: the supervisor asks as well."""

from collections.abc import Mapping

from drum_supervisor.config.parsers import RUNTIME_PARAMETER, YES, runtime_parameter

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
METRICS_ENDPOINT = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
METRICS_EXPORTER = "OTEL_METRICS_EXPORTER"
DISABLED = "OTEL_SDK_DISABLED"


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Return whether the environment names a collector, and does not say that there shall be no telemetry."""
    return bool(environ.get(ENDPOINT, "").strip()) and not _is_disabled(environ)


def sends_metrics(environ: Mapping[str, str]) -> bool:
    """Return whether the supervisor's own metrics are to be sent: to the collector, or to the one for metrics alone.

    `OTEL_METRICS_EXPORTER=none` says no, and changes nothing else.
    """
    endpoint = environ.get(METRICS_ENDPOINT, "").strip() or environ.get(ENDPOINT, "").strip()
    refused = environ.get(METRICS_EXPORTER, "").strip().lower() == "none"
    return bool(endpoint) and not refused and not _is_disabled(environ)


def _is_disabled(environ: Mapping[str, str]) -> bool:
    parameter = runtime_parameter(environ.get(RUNTIME_PARAMETER + DISABLED, ""))
    return any(text.strip().lower() in YES for text in (environ.get(DISABLED, ""), parameter))
