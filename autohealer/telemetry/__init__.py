"""How the daemon tells of itself: logs and systemd's notify protocol."""
