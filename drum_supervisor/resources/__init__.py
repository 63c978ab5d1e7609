"""What processes and control groups use, read from /proc and /sys by pid; nothing here knows what is supervised."""
