"""Turn `[daemon]` into what all groups share: which ZooKeeper, who we are to it, and where state is kept.

Theory of operation. What the file does not say may be said by the environment, as for the command line: `file`, then
`AUTOHEALER_ZOOKEEPER` and its like, then the default. Where state is kept the command line says first.

Must never know: groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autohealer.config.command import in_words_of_file
from autohealer.config.form import Daemon
from autohealer.contract import (
    ENV_ZOOKEEPER,
    ENV_ZOOKEEPER_AUTH,
    ENV_ZOOKEEPER_TLS_CA,
    ENV_ZOOKEEPER_TLS_CERT,
    ENV_ZOOKEEPER_TLS_KEY,
)
from autohealer.credentials import NO_CREDENTIALS, Credentials
from autohealer.settings import (
    AutoTarget,
    EnsembleTarget,
    NoStateDir,
    SettingsError,
    Target,
    default_state_dir,
    parse_credentials,
    parse_target,
)

Note = Callable[[str, str], None]
"""Takes a key of `[daemon]`, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all groups share."""

    target: Target
    credentials: Credentials
    zookeeper_open: bool
    state_dir: Path


def shared_settings(
    form: Daemon, folder: Path, environ: Mapping[str, str], state_dir: Path | None, note: Note
) -> Shared:
    """What a file in `folder` says; what is wrong is noted, and what comes back is of no use then."""
    target = _target(form, environ, note)
    is_open = bool(form.zookeeper_open)
    if is_open and isinstance(target, EnsembleTarget):
        sentence = (
            f"the embedded server is not used, and {target.connection} says itself whom it serves"
        )
        note("zookeeper_open", sentence)
    return Shared(
        target=target or AutoTarget(),
        credentials=_credentials(form, folder, environ, target, note),
        zookeeper_open=is_open,
        state_dir=_state_dir(form, folder, state_dir, note),
    )


def _target(form: Daemon, environ: Mapping[str, str], note: Note) -> Target | None:
    told = form.zookeeper or environ.get(ENV_ZOOKEEPER) or "auto"
    try:
        return parse_target(told if form.zookeeper is None else form.zookeeper)
    except SettingsError as error:
        note("zookeeper", in_words_of_file(str(error)))
        return None


def _credentials(
    form: Daemon, folder: Path, environ: Mapping[str, str], target: Target | None, note: Note
) -> Credentials:
    """Files named by the keys or by the environment; a mistake is told of the first key that is said."""
    said = {
        "zookeeper_auth": form.zookeeper_auth,
        "zookeeper_tls_ca": form.zookeeper_tls_ca,
        "zookeeper_tls_cert": form.zookeeper_tls_cert,
        "zookeeper_tls_key": form.zookeeper_tls_key,
    }

    def file(key: str, variable: str) -> str | None:
        name = said[key]
        return str(folder / name) if name else environ.get(variable)

    if target is None:
        return NO_CREDENTIALS
    try:
        return parse_credentials(
            target,
            auth=file("zookeeper_auth", ENV_ZOOKEEPER_AUTH),
            tls_ca=file("zookeeper_tls_ca", ENV_ZOOKEEPER_TLS_CA),
            tls_cert=file("zookeeper_tls_cert", ENV_ZOOKEEPER_TLS_CERT),
            tls_key=file("zookeeper_tls_key", ENV_ZOOKEEPER_TLS_KEY),
        )
    except SettingsError as error:
        sentence = in_words_of_file(str(error))
        note(_key_meant(sentence, [key for key, name in said.items() if name]), sentence)
        return NO_CREDENTIALS


def _key_meant(sentence: str, said: list[str]) -> str:
    """Which of the keys a sentence is about: the one it names, else the first one."""
    named = [key for key in said if key in sentence]
    return (*named, *said, "zookeeper")[0]


def _state_dir(form: Daemon, folder: Path, told: Path | None, note: Note) -> Path:
    if told is not None:
        return told.absolute()
    if form.state_dir:
        return folder / form.state_dir
    try:
        return default_state_dir()
    except NoStateDir as error:
        note("state_dir", in_words_of_file(str(error)))
        return folder
