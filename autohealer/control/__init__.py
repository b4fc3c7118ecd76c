"""The control interface: HTTP over a unix socket that only its owner may open."""
