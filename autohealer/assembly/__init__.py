"""The composition root: settings become adapters, adapters and the core become one running daemon.

The only package that knows everyone; nobody but the command line imports it.
"""
