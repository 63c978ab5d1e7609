"""The image, built and run for real; skipped where there is no container engine (`make container-engine`)."""
