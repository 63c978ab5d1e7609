"""The user's model: loading `custom.py` and artifacts, calling hooks, predicting. No HTTP, no process control."""
