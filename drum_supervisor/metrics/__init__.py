"""Metrics of the supervisor and its programs: read, named, and formatted for Prometheus. No HTTP, no OpenTelemetry."""
