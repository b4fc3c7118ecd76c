"""Goal: who is not allowed to can not, and who is can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autohealer.zkserver import acl as access
from autohealer.zkserver.protocol import OPEN_ACL, Acl, Code, Identity, Op, Perm, RefusedError
from autohealer.zkserver.settings import ServerSettings
from autohealer.zkserver.wire import Reader, pack_int, pack_text

from .world import Peer, World

DIGEST = access.digest_of("user:pass")
OWN = (Acl(31, "digest", DIGEST),)


def test_the_digest_is_apaches() -> None:
    """Access lists made by other tools would lock their owners out."""
    assert access.digest_of("super:test") == "super:D/InIHSb7yEEbrWz8b9l71RjZJU="


@pytest.mark.parametrize(
    "wanted",
    [
        (),
        (Acl(31, "auth", ""),),
        (Acl(31, "digest", "no-colon"),),
        (Acl(31, "world", "somebody"),),
        (Acl(31, "ip", "not-an-address"),),
        (Acl(31, "ip", "10.0.0.0/33"),),
        (Acl(31, "ip", "10.0.0.0/255.0.0.0"),),
        (Acl(31, "ip", "10.0.0.0/"),),
        (Acl(31, "unheard-of", "x"),),
    ],
)
def test_lists_nobody_can_satisfy_are_refused(wanted: tuple[Acl, ...]) -> None:
    """A node would be made that nobody can ever read or delete."""
    with pytest.raises(RefusedError, match="INVALID_ACL"):
        access.expand(wanted, {Identity("ip", "127.0.0.1"): None})


def test_auth_means_whoever_asks() -> None:
    """A node meant for its maker would be open to nobody, or to all."""
    who = dict.fromkeys([Identity("ip", "::1"), Identity("digest", DIGEST)])
    assert access.expand([Acl(31, "auth", "")], who) == OWN
    assert access.expand([*OWN, *OWN], who) == OWN


@pytest.mark.parametrize(
    ("entry", "address", "allowed"),
    [
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.0.0/16", "10.2.2.3", False),
        ("0.0.0.0/0", "10.2.2.3", True),
        ("fe80::/10", "fe80::1", True),
        ("fe80::/10", "10.1.2.3", False),
        ("10.1.0.0/16", "unknown", False),
    ],
)
def test_addresses_match_their_network(entry: str, address: str, *, allowed: bool) -> None:
    """A network rule would let strangers in or members out."""
    acl = (Acl(Perm.READ, "ip", entry),)
    assert access.is_allowed(acl, Perm.READ, {Identity("ip", address): None}) is allowed


def _owner_and_stranger(super_digest: str | None = None) -> tuple[Peer, Peer]:
    world = World(replace(ServerSettings(Path("/nowhere")), super_digest=super_digest))
    owner, stranger = world.client(), world.client()
    assert owner.authenticate(b"user:pass").code is Code.OK
    owner.create("/own", b"secret", acl=OWN)
    return owner, stranger


def test_a_stranger_can_do_nothing_with_a_private_node() -> None:
    """A private node would be readable, writable or replaceable by anybody."""
    owner, stranger = _owner_and_stranger()
    owner.create("/own/child")
    assert stranger.get("/own").code is Code.NO_AUTH
    assert stranger.children("/own").code is Code.NO_AUTH
    assert stranger.set("/own", b"").code is Code.NO_AUTH
    assert stranger.set_acl("/own", OPEN_ACL).code is Code.NO_AUTH
    assert stranger.create("/own/x").code is Code.NO_AUTH
    assert stranger.delete("/own/child").code is Code.NO_AUTH
    assert stranger.call(Op.GET_ACL, pack_text("/own")).code is Code.NO_AUTH
    assert stranger.exists("/own").code is Code.OK


def test_the_owner_can_do_everything() -> None:
    """An owner would be locked out of its own node."""
    owner, _ = _owner_and_stranger()
    assert owner.get("/own").code is Code.OK
    assert owner.set("/own", b"1").code is Code.OK
    assert owner.set_acl("/own", OPEN_ACL, version=0).stat.aversion == 1
    assert owner.set_acl("/own", OPEN_ACL, version=0).code is Code.BAD_VERSION


def test_password_hashes_are_masked() -> None:
    """Who may only read a node would learn hashes to crack."""
    owner, stranger = _owner_and_stranger()
    owner.set_acl("/own", (*OWN, Acl(Perm.READ, "world", "anyone")))
    shown = stranger.call(Op.GET_ACL, pack_text("/own")).reader.vector(Reader.acl)
    assert shown[0] == Acl(31, "digest", "user:x")
    assert owner.call(Op.GET_ACL, pack_text("/own")).reader.vector(Reader.acl)[0] == OWN[0]


def test_the_super_user_passes_everywhere() -> None:
    """An operator could not clean up nodes whose owner is gone."""
    _, operator = _owner_and_stranger(access.digest_of("super:test"))
    operator.authenticate(b"super:test")
    assert operator.delete("/own").code is Code.OK


def test_an_unknown_scheme_is_refused_and_the_connection_closed() -> None:
    """A client would believe itself authenticated."""
    client = World().client()
    assert client.authenticate(b"x", scheme="kerberos").code is Code.AUTH_FAILED
    assert client.dropped == "authentication failed"


def test_no_secret_proves_nothing() -> None:
    """A client that forgot its password would be somebody: the user without a name."""
    client = World().client()
    code = client.call(Op.AUTH, pack_int(0) + pack_text("digest") + pack_int(-1), xid=-4).code
    assert code is Code.AUTH_FAILED
    assert client.dropped is not None


def test_who_am_i_shows_names_but_no_hashes() -> None:
    """zkCli's whoami would show nothing, or a password hash."""
    owner, _ = _owner_and_stranger()
    reader = owner.call(Op.WHO_AM_I).reader
    shown = reader.vector(lambda one: (one.text(), one.text()))
    assert shown == (("ip", "127.0.0.1"), ("digest", "user"))
