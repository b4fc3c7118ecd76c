"""What somebody asks of a group is read strictly: a slip changes nothing."""

from __future__ import annotations

import json
from http import HTTPStatus
from signal import Signals

import pydantic
import pytest

from autohealer.control.changes import Reader, problem
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

READER = Reader(pydantic)
JSON = {"Content-Type": "application/json; charset=utf-8"}
WEB = "/v1/groups/web"


@pytest.mark.parametrize(
    ("method", "path", "body", "change"),
    [
        ("PATCH", WEB, '{"replicas": 5}', Scale(5)),
        ("PATCH", WEB, '{"replicas": "declared"}', Scale(None)),
        ("PATCH", WEB, '{"stopped": true}', Stop(None)),
        ("PATCH", WEB, '{"stopped": true, "slots": [0, 3]}', Stop(frozenset({0, 3}))),
        ("PATCH", WEB, '{"stopped": false, "slots": [0]}', Start(frozenset({0}))),
        ("POST", f"{WEB}/restart", "{}", Restart(None)),
        ("POST", f"{WEB}/restart", '{"slots": [2]}', Restart(frozenset({2}))),
        ("POST", f"{WEB}/signal", '{"signal": "HUP"}', Signal(Signals.SIGHUP, None)),
        ("POST", f"{WEB}/signal", '{"signal": "SIGUSR1"}', Signal(Signals.SIGUSR1, None)),
    ],
)
def test_what_is_asked(method: str, path: str, body: str, change: Change) -> None:
    """Something else would be done than was asked for."""
    asked = READER.change_in(method, path, JSON, body.encode(), "anna")
    assert asked == ("web", Asked(change, "anna"))


def test_the_version_somebody_has_seen_is_read() -> None:
    """Of two operators at once the second would undo what the first did."""
    headers = JSON | {"If-Match": '"17"'}
    asked = READER.change_in("PATCH", WEB, headers, b'{"replicas": 5}', "anna")
    assert asked == ("web", Asked(Scale(5), "anna", 17))


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", WEB, JSON, "", HTTPStatus.METHOD_NOT_ALLOWED),
        ("PATCH", f"{WEB}/restart", JSON, "{}", HTTPStatus.METHOD_NOT_ALLOWED),
        ("PATCH", WEB, {}, '{"replicas": 5}', HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
        (
            *("PATCH", WEB, {"Content-Type": "text/plain"}),
            *('{"replicas": 5}', HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
        ),
        ("PATCH", WEB, JSON, "{", HTTPStatus.UNPROCESSABLE_ENTITY),
        ("PATCH", WEB, JSON, "", HTTPStatus.UNPROCESSABLE_ENTITY),
        ("PATCH", WEB, JSON, "{}", HTTPStatus.UNPROCESSABLE_ENTITY),
        ("PATCH", WEB, JSON, '{"replica": 5}', HTTPStatus.UNPROCESSABLE_ENTITY),
        ("PATCH", WEB, JSON, '{"replicas": "five"}', HTTPStatus.UNPROCESSABLE_ENTITY),
        ("PATCH", WEB, JSON, '{"replicas": true}', HTTPStatus.UNPROCESSABLE_ENTITY),
        ("PATCH", WEB, JSON, '{"replicas": 1e3}', HTTPStatus.UNPROCESSABLE_ENTITY),
        ("PATCH", WEB, JSON, '{"stopped": "yes"}', HTTPStatus.UNPROCESSABLE_ENTITY),
        ("PATCH", WEB, JSON, '{"stopped": true, "slots": [true]}', HTTPStatus.UNPROCESSABLE_ENTITY),
        ("PATCH", WEB, JSON, '{"stopped": true, "slots": "3"}', HTTPStatus.UNPROCESSABLE_ENTITY),
        ("PATCH", WEB, JSON, '{"replicas": 5, "slots": [1]}', HTTPStatus.UNPROCESSABLE_ENTITY),
        (
            *("PATCH", WEB, JSON),
            *('{"replicas": 5, "stopped": true}', HTTPStatus.UNPROCESSABLE_ENTITY),
        ),
        ("POST", f"{WEB}/signal", JSON, '{"signal": "NOPE"}', HTTPStatus.UNPROCESSABLE_ENTITY),
        (
            *("PATCH", WEB, JSON | {"If-Match": "17"}),
            *('{"replicas": 5}', HTTPStatus.BAD_REQUEST),
        ),
    ],
)
def test_what_cannot_be_understood_is_refused(
    method: str, path: str, headers: dict[str, str], body: str, status: HTTPStatus
) -> None:
    """A mistake in a script would change a group in a way that nobody asked for."""
    with pytest.raises(Refused) as told:
        READER.change_in(method, path, headers, body.encode(), "anna")
    assert told.value.status is status
    assert json.loads(problem(told.value)) == {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": str(told.value),
    }


def test_other_paths_are_others() -> None:
    """Asking how things stand would be taken for a change."""
    for path in ("/v1/status", "/v1/groups/", "/v1/groups/a/b", "/v1/groups/a/restart/now"):
        assert READER.change_in("POST", path, JSON, b"", "anna") is None
