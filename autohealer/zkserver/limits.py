"""Bounds on single requests that no ordinary client meets; every one with its reason.

Theory of operation. A frame of a megabyte can ask for far more than a megabyte of memory or work.
These bounds are chosen so that whatever one connection sends costs below 64 MiB and about a tenth of a second;
Apache has none of them, so none is near what clients are known to send.

All clients together can make the server hold, by default: 512 MiB of nodes, 256 MiB of watches and identities, 128 MiB
of waiting requests and unread replies, which may take twice that in buffers, 68 MiB of events, 64 MiB for the request
under way, and some KiB for each of 16,384 connections and 65,536 sessions: about 1.4 GiB, and as much as the nodes had
once more while all of them are changed during a rewriting of the journal. That is a sum of the settings;
`benchmarks/hostile.py` measures parts of it.

Must never know: who asks. Bounds that are a matter of the machine's size are in `settings`.
"""

from __future__ import annotations

PATH_BYTES_MAX = 4096
"""As long as a file's path may be. One event then reaches every connection within `event_bytes_max`."""

PATH_DEPTH_MAX = 64
"""A recursive watch makes every event cost as much as its path is deep; known uses stay below 20."""

STEPS_MAX = 1024
"""Of a multi or multiRead: each takes up to 80 µs; clients that cut their work up do so at 1,000."""

ITEMS_MAX = 16_384
"""Of all lists of one request together: the Java client cuts its watches up at 128 KiB of paths."""

ACL_ENTRIES_MAX = 32
"""Of one list, `auth` replaced by identities: every access looks at each of them."""

REQUEST_ACL_ENTRIES_MAX = 4096
"""Of all lists of one multi, `auth` replaced by identities: four for each of its steps."""

IDENTITIES_MAX = 32
"""Of one connection. Equal ones are one, as in Apache."""

IDENTITY_OVERHEAD_BYTES = 250
"""What an identity takes beside its text, measured on CPython 3.11."""

IDENTITY_BYTES_MAX = 1024
"""Of one identity, because every `auth` entry of every node repeats it."""

EPHEMERAL_BYTES_MAX = 1_048_576
"""Of the paths of one session, since all of them go in one transaction when it ends."""

EPHEMERAL_BYTES_MIN = 128
"""What an ephemeral counts at least: 8,192 of one session, which go within a tenth of a second."""

CHILD_BYTES_MIN = 64
"""What a name counts in a reply at least: 131,072 names are read within a tenth of a second."""

EVENT_BYTES_MIN = 1024
"""What an event to one connection counts at least: its cost is work more than bytes."""

WATCH_BYTES = 500
"""What a watch takes beside its path, measured on CPython 3.11."""
