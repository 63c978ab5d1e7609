"""From settings to what is run: the programs, their commands, and the configuration that supervisord reads. Pure."""
