"""What one supervisor keeps on its machine: the run directory, and the guard. Nothing here knows the policy."""
