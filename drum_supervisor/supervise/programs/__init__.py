"""From settings to programs: their commands, and the configuration of supervisord. Reads files, but starts nothing."""
