"""OpenTelemetry: whether it is wanted, its providers, and what is sent to them."""
