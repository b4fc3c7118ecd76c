"""A journal's bytes: what it begins with, and what stands around each record.

Each record is a header (payload length, payload checksum, checksum of those two) and the payload.

Must never know: what a record says.
"""

from __future__ import annotations

import os
from struct import Struct
from zlib import crc32

MAGIC = b"AHZKJ\x00\x00\x01"
HEADER = Struct("!III")
HEADER_SUMMED = Struct("!II")


def frame_record(payload: bytes) -> bytes:
    """Put length and checksums in front."""
    summed = HEADER_SUMMED.pack(len(payload), crc32(payload))
    return summed + crc32(summed).to_bytes(4, "big") + payload


def write_all(file: int, data: bytes) -> int:
    """Write all of it; returns how much that was. Raises `OSError`."""
    written = os.write(file, data)
    while written < len(data):
        written += os.write(file, data[written:])
    return written
