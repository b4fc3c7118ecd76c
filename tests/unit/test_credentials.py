"""Files with credentials: whose they may be, what may be in them, and that no message gives them away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autohealer import contract
from autohealer.credentials import (
    NO_CREDENTIALS,
    Credentials,
    CredentialsError,
    Login,
    Scheme,
    Secret,
    TlsFiles,
    credentials_named_in,
    read_credentials,
)

PASSWORD = "swordfish"


def login_file(folder: Path, text: str = f"digest:bob:{PASSWORD}\n", mode: int = 0o600) -> Path:
    """A file as an operator writes it."""
    path = folder / "auth"
    path.touch(0o600)
    path.write_text(text)
    path.chmod(mode)
    return path


def login_in(path: Path | str) -> Login:
    """What a file says."""
    found = read_credentials(auth=str(path), tls_ca=None, tls_cert=None, tls_key=None).login
    assert found is not None
    return found


def tls(folder: Path, **names: str | None) -> Credentials:
    """What these names of TLS files come to."""
    given: dict[str, str | None] = dict.fromkeys(("tls_ca", "tls_cert", "tls_key")) | names
    return read_credentials(auth=None, **given)


@pytest.mark.parametrize(
    ("text", "user", "password"),
    [
        ("digest:bob:swordfish", "bob", "swordfish"),
        ("# who we are\n\n  digest:bob:a:b c \r\n", "bob", "a:b c"),
        ("digest:böb:schlüssel\n", "böb", "schlüssel"),
    ],
)
def test_user_and_password_are_read(tmp_path: Path, text: str, user: str, password: str) -> None:
    """Workers would be refused because of a comment, a colon in a password or an editor's line ends."""
    path = login_file(tmp_path, text)
    assert login_in(path) == Login(Scheme.DIGEST, user, Secret(password), path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds 0 lines"),
        (f"digest:bob:{PASSWORD}\ndigest:eve:{PASSWORD}\n", "holds 2 lines"),
        (PASSWORD, "does not hold a line `digest:USER:PASSWORD`"),
        (f"bob:{PASSWORD}", "does not hold"),
        (f"ip:bob:{PASSWORD}", "does not hold"),
        (f"digest::{PASSWORD}", "does not hold"),
        ("digest:bob:", "does not hold"),
        (f"digest:bob:{PASSWORD}\x1b[2J", "cannot be printed"),
        (f"digest:bob:{PASSWORD}\udcff", "is not text"),
    ],
)
def test_what_is_wrong_is_said_and_not_shown(tmp_path: Path, text: str, words: str) -> None:
    """A typing error in the file would print the password, or start workers that nobody lets in."""
    path = login_file(tmp_path)
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CredentialsError, match=words) as refusal:
        login_in(path)
    assert str(path) in str(refusal.value)
    assert PASSWORD not in str(refusal.value)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o666])
def test_a_file_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """Any local user could read the password, end every worker, and nobody would have been warned."""
    path = login_file(tmp_path, mode=mode)
    if os.geteuid() == 0 and mode == 0o640:
        assert login_in(path).user == "bob"  # root's may be readable for a service's group
        return
    with pytest.raises(CredentialsError, match=f"open to others .mode {mode:04o}.: `chmod 600"):
        login_in(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    """Somebody else could have the group's workers proven to be theirs."""
    path = login_file(tmp_path)
    os.chown(path, 65534, 65534)
    with pytest.raises(CredentialsError, match="belongs to another user"):
        login_in(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """The daemon would hang on a pipe, or its workers find the password read away."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(CredentialsError, match="is not a plain file"):
        login_in(pipe)
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(CredentialsError, match=r"cannot be read|is not a plain file"):
            login_in(missing)


@pytest.mark.parametrize("scheme", ["digest", "sasl"])
def test_a_password_in_place_of_a_file_is_refused(scheme: str) -> None:
    """The password would stand in everybody's `ps`, and then in the message about a missing file."""
    with pytest.raises(CredentialsError, match="takes the name of a file") as refusal:
        login_in(f"{scheme}:bob:{PASSWORD}")
    assert PASSWORD not in str(refusal.value)


def test_a_password_does_not_show_where_its_holder_is_printed(tmp_path: Path) -> None:
    """A log line or a traceback with the settings in it would give the password away."""
    login = login_in(login_file(tmp_path))
    assert PASSWORD not in repr(Credentials(login))
    assert login.password == PASSWORD


def test_sasl_without_its_package_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon would end with a traceback out of kazoo's thread at the first connection."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(CredentialsError, match="pure-sasl is missing: `pip install 'autohealer"):
        login_in(login_file(tmp_path, "sasl:bob:x"))


def test_tls_files_belong_together(tmp_path: Path) -> None:
    """A key alone would be ignored, and the server would be believed whoever it is."""
    key = login_file(tmp_path)
    with pytest.raises(CredentialsError, match="need --zookeeper-tls-ca"):
        tls(tmp_path, tls_cert=str(key))
    with pytest.raises(CredentialsError, match="needs the certificate to it"):
        tls(tmp_path, tls_ca="ca.pem", tls_key=str(key))
    assert tls(tmp_path, tls_ca="ca.pem").tls == TlsFiles(Path("ca.pem").absolute())


@pytest.mark.parametrize("named", [("tls_cert",), ("tls_cert", "tls_key")])
def test_a_key_others_can_read_is_refused(tmp_path: Path, named: tuple[str, ...]) -> None:
    """Any local user could pass for a worker."""
    key = login_file(tmp_path, mode=0o644)
    with pytest.raises(CredentialsError, match="with a private key is open to others"):
        tls(tmp_path, tls_ca="ca.pem", **dict.fromkeys(named, str(key)))


def test_workers_are_told_names_and_read_the_same(tmp_path: Path) -> None:
    """A worker could not prove who it is, or its environment would hold the password."""
    auth = login_file(tmp_path)
    given = read_credentials(
        auth=str(auth), tls_ca=str(tmp_path / "ca"), tls_cert=str(auth), tls_key=None
    )
    told = given.environment()
    assert told == {
        contract.ENV_ZOOKEEPER_AUTH: str(auth),
        contract.ENV_ZOOKEEPER_TLS_CA: str(tmp_path / "ca"),
        contract.ENV_ZOOKEEPER_TLS_CERT: str(auth),
    }
    assert credentials_named_in(told) == given
    assert NO_CREDENTIALS.environment() == {}
    assert credentials_named_in({contract.ENV_ZOOKEEPER_AUTH: ""}) == NO_CREDENTIALS


def test_workers_are_told_absolute_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that changes its folder would not find the file."""
    login_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert login_in("auth").file == tmp_path / "auth"
