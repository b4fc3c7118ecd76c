"""Read what somebody asks of a group out of an HTTP request, and write the answer: JSON, or a problem (RFC 9457).

    PATCH /v1/groups/{group}          {"replicas": 5}, {"replicas": "declared"}, {"stopped": true, "slots": [0, 3]}
    POST  /v1/groups/{group}/restart  {"slots": [0, 3]}
    POST  /v1/groups/{group}/signal   {"signal": "HUP", "slots": [0, 3]}

Without `slots` all are meant. With `If-Match: "VERSION"` nothing is changed unless the group's changes are of that
version, as its status told. The content is to be JSON and to say so, which no page of another origin can do unasked.

Must never know: what becomes of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from signal import Signals
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from autohealer.control.requests import (
    Asked,
    Change,
    Refused,
    Restart,
    Scale,
    Signal,
    Start,
    Stop,
)

if TYPE_CHECKING:
    import pydantic

PATH = re.compile(r"/v1/groups/(?P<group>[^/]+)(?P<verb>/restart|/signal)?")
BODY_BYTES = 256 * 1024
"""All slots that one daemon may keep, each named."""

_VERSION = re.compile(r'(?:W/)?"(?P<version>\d{1,18})"')


@dataclass(frozen=True, slots=True)
class _Patch:
    """The body of a PATCH; exactly one of the first two."""

    replicas: int | Literal["declared"] | None = None
    stopped: bool | None = None
    slots: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class _Slots:
    """The body of a restart."""

    slots: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class _Signalling:
    """The body of a signal: its name, with or without SIG."""

    signal: str
    slots: frozenset[int] | None = None


Body = _Patch | _Slots | _Signalling


class Reader:
    """Reads requests; the library is handed in because it takes long to import."""

    def __init__(self, library: ModuleType) -> None:
        strict = library.ConfigDict(extra="forbid", strict=True)
        forms: dict[tuple[str, str | None], type[Body]] = {
            ("PATCH", None): _Patch,
            ("POST", "/restart"): _Slots,
            ("POST", "/signal"): _Signalling,
        }
        self._readers = {
            asked: library.TypeAdapter(library.with_config(strict)(form))
            for asked, form in forms.items()
        }
        self._invalid: type[pydantic.ValidationError] = library.ValidationError

    def change_in(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, by: str
    ) -> tuple[str, Asked] | None:
        """The group and what is asked of it; None where the path is another's. Raises `Refused`."""
        found = PATH.fullmatch(path)
        if found is None:
            return None
        reader = self._readers.get((method, found["verb"]))
        if reader is None:
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} is not for {path}")
        if headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
            raise Refused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the content has to be application/json"
            )
        try:
            asked: Body = reader.validate_json(body)
        except self._invalid as error:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, _told(error)) from error
        return found["group"], Asked(_change_of(asked), by, _version_in(headers))


def problem(refused: Refused) -> bytes:
    """A refusal as `application/problem+json`."""
    told = {
        "type": "about:blank",
        "title": refused.status.phrase,
        "status": refused.status.value,
        "detail": str(refused),
    }
    return json.dumps(told).encode()


def _change_of(asked: Body) -> Change:
    match asked:
        case _Slots(slots):
            return Restart(slots)
        case _Signalling(name, slots):
            return Signal(_signal_named(name), slots)
        case _Patch(replicas=None, stopped=bool() as stopped, slots=slots):
            return Stop(slots) if stopped else Start(slots)
        case _Patch(replicas="declared", stopped=None, slots=None):
            return Scale(None)
        case _Patch(replicas=int() as replicas, stopped=None, slots=None):
            return Scale(replicas)
    raise Refused(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        'say one thing: how many "replicas", or whether "stopped" and which "slots"',
    )


def _signal_named(text: str) -> Signals:
    try:
        return Signals[text if text.startswith("SIG") else f"SIG{text}"]
    except KeyError:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"there is no signal {text[:20]!r}"
        ) from None


def _version_in(headers: Mapping[str, str]) -> int | None:
    wanted = headers.get("If-Match", "*").strip()
    if wanted == "*":
        return None
    found = _VERSION.fullmatch(wanted)
    if found is None:
        raise Refused(HTTPStatus.BAD_REQUEST, 'If-Match has to be a version in quotes, as in "3"')
    return int(found["version"])


def _told(error: pydantic.ValidationError) -> str:
    """The first mistake, with its place."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place or 'the content'}: {first['msg']}"
