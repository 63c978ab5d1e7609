"""Settings: each declared once, with their values from flags, environment, file, profile and default.

Nothing here knows what a setting is used for, or starts anything.
"""
