"""The supervisor's figures as metrics: asked for, named, and written down for Prometheus. No HTTP, no telemetry."""
