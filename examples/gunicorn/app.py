"""The least that a WSGI server can serve: which slot answers and, at /slow, after two seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping


def app(
    environ: Mapping[str, str], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    """Answer one request."""
    if environ["PATH_INFO"] == "/slow":
        print("takes its time", flush=True)
        time.sleep(2.0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"slot {os.environ.get('AUTOHEALER_SLOT')} serves\n".encode()]
