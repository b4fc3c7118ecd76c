"""Log lines and what systemd is told."""
