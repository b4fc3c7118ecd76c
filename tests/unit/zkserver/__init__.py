"""The embedded server: its pure parts alone, then the real process."""
