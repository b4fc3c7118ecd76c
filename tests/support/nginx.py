"""Configurations of nginx that write nothing outside the folder it is run in and answer every request."""

from __future__ import annotations

_CONF = """
daemon off;
pid {name}.pid;
error_log stderr;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 "served\\n"; }} }}
}}
"""


def nginx_conf(name: str, port: int) -> str:
    """One that listens at a port; `name` tells its pid file from that of others in the folder."""
    return _CONF.format(name=name, port=port)
