"""Resource usage of processes and control groups, read by pid from /proc and /sys."""
