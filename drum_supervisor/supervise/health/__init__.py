"""Readiness and liveness: one probe of the address, and who decides with it."""
