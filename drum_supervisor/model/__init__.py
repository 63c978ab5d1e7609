"""The user's model: finding and calling `custom.py`, artifacts, reading payloads, shaping predictions. No HTTP here."""
