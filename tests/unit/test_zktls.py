"""TLS as a client of ZooKeeper has it: whom it believes, which files it uses, and what it says."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autohealer.credentials import CredentialsError, TlsFiles
from autohealer.zktls import TlsClient, make_context, speaks_tls
from tests.support.certificates import Authority
from tests.support.ports import HOST, free_port
from tests.support.tlsserver import shaking_hands

WITHIN_S = 5.0


def shake(client: TlsClient, port: int, host: str = HOST) -> None:
    """Connect, shake hands, and read what the server has to say about it."""
    plain = socket.create_connection((HOST, port), WITHIN_S)
    with client.secure(plain, host, WITHIN_S) as secured:
        secured.recv(1)


def mistake(files: TlsFiles, port: int, host: str = HOST) -> str:
    """What is said of a server that no connection comes about with."""
    client = TlsClient(files)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - which one is for `what_went_wrong` to tell
        shake(client, port, host)
    said = client.what_went_wrong(caught.value)
    assert said is not None
    return said


def test_the_right_server_is_believed(authority: Authority) -> None:
    """Nobody could use TLS."""
    with shaking_hands(authority.issue("server")) as port:
        shake(TlsClient(TlsFiles(authority.ca)), port)
        shake(TlsClient(TlsFiles(authority.ca)), port, "localhost")


@pytest.mark.parametrize(
    ("names", "days", "words"),
    [
        ("DNS:elsewhere.example", 9, "IP address mismatch"),
        ("IP:127.0.0.1", -1, "certificate has expired"),
    ],
)
def test_a_wrong_certificate_is_said(
    authority: Authority, names: str, days: int, words: str
) -> None:
    """Whoever gets between a worker and ZooKeeper would be believed, or nobody would learn why nothing connects."""
    with shaking_hands(authority.issue("wrong", names=names, days=days)) as port:
        said = mistake(TlsFiles(authority.ca), port)
    assert said.startswith("shows a certificate that is not accepted")
    assert words in said
    assert str(authority.ca) in said


def test_a_certificate_of_another_authority_is_said(authority: Authority, tmp_path: Path) -> None:
    """Any certificate that anybody signs would do."""
    other = Authority(tmp_path / "other")
    with shaking_hands(other.issue("server")) as port:
        said = mistake(TlsFiles(authority.ca), port)
    assert "not accepted (unable to get local issuer certificate)" in said


def test_a_server_that_wants_to_know_us_is_said(authority: Authority, tmp_path: Path) -> None:
    """The connection would be refused for ever without a word of the certificate that is missing or has expired."""
    stranger = Authority(tmp_path / "other").issue("stranger")
    with shaking_hands(authority.issue("server"), clients_ca=authority.ca) as port:
        shake(TlsClient(TlsFiles(authority.ca, authority.issue("client"))), port)
        assert "none was given" in mistake(TlsFiles(authority.ca), port)
        said = mistake(TlsFiles(authority.ca, stranger), port)
    assert said.startswith("refuses the TLS connection (unknown ca)")
    assert str(stranger) in said


def test_a_server_without_tls_is_said(authority: Authority) -> None:
    """The plain port in place of the secure one would look like a server that is down."""
    with socket.create_server((HOST, 0)) as silent:
        plain = socket.create_connection(silent.getsockname())
        client = TlsClient(TlsFiles(authority.ca))
        with pytest.raises(TimeoutError) as caught:
            client.secure(plain, HOST, 0.2)
    said = client.what_went_wrong(caught.value)
    assert said is not None
    assert "overloaded, or this is no port for TLS" in said
    with socket.create_server((HOST, 0)) as short, ThreadPoolExecutor(1) as pool:

        def hang_up() -> None:
            short.accept()[0].close()

        hanging_up = pool.submit(hang_up)
        said = mistake(TlsFiles(authority.ca), short.getsockname()[1])
        hanging_up.result()
    assert said.startswith("does not answer in TLS")


def test_what_is_not_about_tls_is_not_blamed_on_it(authority: Authority) -> None:
    """A server that is restarted would be said to speak no TLS."""
    client = TlsClient(TlsFiles(authority.ca))
    errors = (ConnectionResetError(), TimeoutError(), ssl.SSLEOFError(), None)
    assert [client.what_went_wrong(error) for error in errors] == [None] * 4
    with shaking_hands(authority.issue("server")) as port:
        shake(client, port)
        assert client.is_secured
        assert [client.what_went_wrong(error) for error in errors] == [None] * 4
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(client, port, "elsewhere.example")
    client.forget()
    assert client.what_went_wrong(errors[0]) is None


def test_a_tls_server_is_recognised(authority: Authority) -> None:
    """Who forgot to ask for TLS would look for the fault elsewhere."""
    with shaking_hands(authority.issue("server"), clients_ca=authority.ca) as port:
        assert speaks_tls((HOST, port), WITHIN_S)
    assert not speaks_tls((HOST, free_port()), WITHIN_S)
    with socket.create_server((HOST, 0)) as silent:
        assert not speaks_tls(silent.getsockname(), 0.2)


def test_files_that_will_not_do_are_named(authority: Authority, tmp_path: Path) -> None:
    """A wrong file would be found out at the first connection, by a traceback."""
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense")
    mine, other = authority.issue("client"), authority.issue("other")
    for files in (
        TlsFiles(tmp_path / "none"),
        TlsFiles(nonsense),
        TlsFiles(authority.ca, nonsense),
        TlsFiles(authority.ca, mine, other),
    ):
        wrong = files.key or files.cert or files.ca
        with pytest.raises(CredentialsError, match=f"{wrong.name}.* cannot be used as"):
            make_context(files)


def test_a_key_with_a_passphrase_is_refused(authority: Authority, tmp_path: Path) -> None:
    """The daemon would wait for somebody to type it, in a service as well."""
    locked = tmp_path / "locked.key"
    mine = authority.issue("client")
    how = ("-aes256", "-passout", "pass:x", "-out", str(locked))
    subprocess.run(("openssl", "pkey", "-in", str(mine), *how), check=True, capture_output=True)
    with pytest.raises(CredentialsError, match="has a passphrase"):
        make_context(TlsFiles(authority.ca, mine, locked))


def test_renewed_files_are_used_and_lost_ones_missed_by_nobody(
    authority: Authority, tmp_path: Path
) -> None:
    """A renewed certificate would cost every worker its session, and so would one whose file went with its service."""
    other = Authority(tmp_path / "other")
    ca = tmp_path / "ca.pem"
    shutil.copy(other.ca, ca)
    client = TlsClient(TlsFiles(ca))
    with shaking_hands(authority.issue("server")) as port:
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(client, port)
        shutil.copy(authority.ca, tmp_path / "new")
        (tmp_path / "new").replace(ca)
        shake(client, port)
        os.truncate(ca, 0)
        shake(client, port)
        ca.unlink()
        shake(client, port)
