"""What one supervisor keeps on its machine: the run directory, and the guard that cleans up if it is killed."""
