"""Settings: each declared once, and the values they get from flags, environment, file, profile and default.

Nothing here knows what a setting is used for.
"""
