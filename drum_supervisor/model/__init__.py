"""The user's model: finding and calling `custom.py`, reading payloads, shaping predictions. No HTTP in here."""
