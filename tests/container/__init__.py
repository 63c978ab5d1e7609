"""Tests that build and run the image; skipped without a container engine (`make container-engine`)."""
