"""Whether the environment enables telemetry. Standard library only: the supervisor imports this too."""

from collections.abc import Mapping

from drum_supervisor.config.parsers import RUNTIME_PARAMETER_PREFIX, YES, parse_runtime_parameter

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
METRICS_ENDPOINT = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
METRICS_EXPORTER = "OTEL_METRICS_EXPORTER"
DISABLED = "OTEL_SDK_DISABLED"


def is_enabled(environ: Mapping[str, str]) -> bool:
    """Return whether the environment names a collector and does not disable the SDK."""
    return bool(environ.get(ENDPOINT, "").strip()) and not _is_disabled(environ)


def exports_metrics(environ: Mapping[str, str]) -> bool:
    """Return whether the supervisor sends its metrics; `OTEL_METRICS_EXPORTER=none` turns off these alone."""
    endpoint = environ.get(METRICS_ENDPOINT, "").strip() or environ.get(ENDPOINT, "").strip()
    is_refused = environ.get(METRICS_EXPORTER, "").strip().lower() == "none"
    return bool(endpoint) and not is_refused and not _is_disabled(environ)


def _is_disabled(environ: Mapping[str, str]) -> bool:
    parameter = parse_runtime_parameter(environ.get(RUNTIME_PARAMETER_PREFIX + DISABLED, ""))
    return any(text.strip().lower() in YES for text in (environ.get(DISABLED, ""), parameter))
