"""Access control: who a connection is, and what a node's list lets it do.

Schemes: `world`, `auth` (expands to the asker's own identities), `digest`, `ip`, `super`.
Sources: `PrepRequestProcessor.fixupACL`, `ZooKeeperServer.checkACL`, `DigestAuthenticationProvider`,
`IPAuthenticationProvider` of Apache ZooKeeper.

Must never know: nodes, connections, which request asks.
Limits: `ACL_ENTRIES_MAX`, refused with INVALID_ACL; `IDENTITIES_MAX` and `IDENTITY_BYTES_MAX` prove nothing.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_pton
from sys import getsizeof
from typing import TYPE_CHECKING

from autohealer.zkserver.limits import (
    ACL_ENTRIES_MAX,
    IDENTITIES_MAX,
    IDENTITY_BYTES_MAX,
    IDENTITY_OVERHEAD_BYTES,
)
from autohealer.zkserver.protocol import OPEN_ACL, Acl, Code, Identity, Perm, RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    Identities: TypeAlias = dict[Identity, None]
    """Who a connection is, in the order of proving; looked into at every access."""

SUPER = Identity("super", "")

_ADDRESS_CHARS_MAX = 100
"""Longer than any address with its zone and prefix; bounds what is remembered of them."""


def digest_of(credentials: str) -> str:
    """`user:password` becomes `user:<base64 of its SHA-1>`."""
    user, _, _ = credentials.partition(":")
    hashed = hashlib.sha1(credentials.encode(), usedforsecurity=False).digest()
    return f"{user}:{base64.b64encode(hashed).decode()}"


def authenticate(scheme: str, secret: bytes, super_digest: str | None) -> list[Identity] | None:
    """The identities a client's credentials prove; None when they prove nothing.

    `ip` proves nothing new: the address is an identity of every connection already.
    """
    if scheme == "ip":
        return []
    if scheme != "digest":
        return None
    try:
        digest = digest_of(secret.decode())
    except UnicodeDecodeError:
        return None
    proven = [Identity("digest", digest)]
    return [*proven, SUPER] if digest == super_digest else proven


def size_bytes(who: Identity) -> int:
    """What an identity takes in memory, roughly."""
    return IDENTITY_OVERHEAD_BYTES + getsizeof(who.id)


def extend(known: Identities, proven: Sequence[Identity]) -> bool:
    """Add what a client has proven to what it had; False, and nothing is added, when that is too much."""
    if any(len(who.id) > IDENTITY_BYTES_MAX for who in proven):
        return False
    if len(known.keys() | set(proven)) > IDENTITIES_MAX:
        return False
    known.update(dict.fromkeys(proven))
    return True


def expand(wanted: Sequence[Acl], identities: Identities) -> tuple[Acl, ...]:
    """Check a list a client wants to set and put its own identities in place of `auth`.

    Raises:
        RefusedError: INVALID_ACL, it is empty, too long or has an entry that can never match.
    """
    if tuple(wanted) == OPEN_ACL:
        return OPEN_ACL
    expanded: list[Acl] = []
    for entry in dict.fromkeys(wanted):
        expanded.extend(_expand_entry(entry, identities))
        if len(expanded) > ACL_ENTRIES_MAX:
            raise RefusedError(Code.INVALID_ACL)
    if not expanded:
        raise RefusedError(Code.INVALID_ACL)
    return tuple(expanded)


def is_allowed(acl: Sequence[Acl], perms: int, identities: Identities) -> bool:
    """Whether the list grants one of `perms` to one of the identities."""
    if acl == OPEN_ACL or not acl or SUPER in identities:
        return True
    addresses = [who.id for who in identities if who.scheme == "ip"]
    return any(entry.perms & perms and _matches(entry, identities, addresses) for entry in acl)


def demand(acl: Sequence[Acl], perms: int, identities: Identities) -> None:
    """Refuse who is not allowed.

    Raises:
        RefusedError: NO_AUTH.
    """
    if not is_allowed(acl, perms, identities):
        raise RefusedError(Code.NO_AUTH)


def shown_to(acl: tuple[Acl, ...], identities: Identities) -> tuple[Acl, ...]:
    """The list as getACL may show it: without ADMIN, password hashes are masked."""
    if is_allowed(acl, Perm.ADMIN, identities):
        return acl
    return tuple(_masked(entry) for entry in acl)


def _expand_entry(entry: Acl, identities: Identities) -> list[Acl]:
    match entry.scheme:
        case "auth":
            proven = [who for who in identities if who.scheme == "digest"]
            expanded = [Acl(entry.perms, who.scheme, who.id) for who in proven]
        case "world":
            expanded = [entry] if entry.id == "anyone" else []
        case "digest":
            expanded = [entry] if entry.id.count(":") == 1 else []
        case "ip":
            expanded = [entry] if _address_bits(entry.id) is not None else []
        case _:
            expanded = []
    if not expanded:
        raise RefusedError(Code.INVALID_ACL)
    return expanded


def _matches(entry: Acl, identities: Identities, addresses: Sequence[str]) -> bool:
    match entry.scheme:
        case "world":
            return entry.id == "anyone"
        case "ip":
            return any(_is_inside(address, entry.id) for address in addresses)
        case _:
            return Identity(entry.scheme, entry.id) in identities


def _is_inside(address: str, network: str) -> bool:
    one, other = _address_bits(address), _address_bits(network)
    if one is None or other is None or one[1] != other[1]:
        return False
    _, width, prefix = other
    return one[0] >> (width - prefix) == other[0] >> (width - prefix)


def _address_bits(text: str) -> tuple[int, int, int] | None:
    """`address[/bits]` as (value, width, prefix bits); None when it is no IPv4 or IPv6 address."""
    return _parse_address(text) if len(text) <= _ADDRESS_CHARS_MAX else None


@lru_cache(maxsize=1024)
def _parse_address(text: str) -> tuple[int, int, int] | None:
    address, slash, bits = text.partition("/")
    address = address.partition("%")[0]  # the zone of a link-local client
    try:
        raw = inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    except (OSError, ValueError):
        return None
    width = 8 * len(raw)
    prefix = bits if slash else str(width)
    if not (prefix.isascii() and prefix.isdigit() and int(prefix) <= width):
        return None
    return int.from_bytes(raw, "big"), width, int(prefix)


def _masked(entry: Acl) -> Acl:
    if entry.scheme != "digest":
        return entry
    return Acl(entry.perms, entry.scheme, f"{entry.id.partition(':')[0]}:x")
