"""Readiness and liveness checks of the service address, as dispatchers of the engine's loop. They decide nothing."""
