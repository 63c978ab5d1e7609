"""OpenTelemetry: its environment variables, providers, signals and the supervisor's metrics. No server, no fronts."""
