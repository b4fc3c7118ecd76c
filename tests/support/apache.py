"""Apache ZooKeeper as installed by Debian's `zookeeper` package, one server, for tests.

Theory of operation: the JVM is told to start fast (C1 compiler, serial collector) and to stay
small. Every four-letter word is allowed; the HTTP admin server is off because it would claim port
8080.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from autohealer.zktls import speaks_tls
from tests.support.eventually import eventually
from tests.support.ports import HOST, free_port
from tests.support.servers import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

_JARS = Path("/usr/share/java")
_JVM_OPTIONS = ("-XX:TieredStopAtLevel=1", "-Xmx256m", "-XX:+UseSerialGC")
_MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"


def apache_is_installed() -> bool:
    """Whether this machine has both a Java runtime and ZooKeeper's jar."""
    return shutil.which("java") is not None and (_JARS / "zookeeper.jar").exists()


_FIRST_HANDSHAKE_S = 30.0

SASL_USER, SASL_PASSWORD = "bob", "builders-yard"
"""Whom a secured server lets in by SASL."""


class ApacheZooKeeper(ServerProcess):
    """One Apache ZooKeeper node; sessions last from 2 to 20 ticks."""

    def __init__(self, data_dir: Path, port: int | None = None, tick_ms: int = 500) -> None:
        super().__init__(data_dir, port)
        self._tick_ms = tick_ms

    def _settings(self) -> dict[str, object]:
        """What `zoo.cfg` is to say."""
        return {
            "tickTime": self._tick_ms,
            "dataDir": self.data_dir,
            "clientPort": self.port,
            "clientPortAddress": HOST,
            "maxClientCnxns": 0,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
        }

    def _command(self) -> Sequence[str]:
        config = self.data_dir / "zoo.cfg"
        lines = (f"{key}={value}\n" for key, value in self._settings().items())
        config.write_text("".join(lines))
        class_path = f"{_JARS / 'zookeeper.jar'}:{_JARS}/*"
        options = (*_JVM_OPTIONS, *self._more_options())
        return ("java", *options, "-cp", class_path, _MAIN, str(config))

    def _more_options(self) -> Sequence[str]:
        """What the JVM is to be told besides."""
        return ()


class SecuredApacheZooKeeper(ApacheZooKeeper):
    """One that has a second port for TLS, with a certificate asked of its clients, and SASL on both ports.

    With `wants_sasl`, everybody may connect, and who has not proven who it is by SASL may do nothing.
    """

    def __init__(
        self, data_dir: Path, certificate: Path, ca: Path, *, wants_sasl: bool = False
    ) -> None:
        super().__init__(data_dir)
        self._wants_sasl = wants_sasl
        self._certificate = certificate
        self._ca = ca
        self.secure_port = free_port()

    def _settings(self) -> dict[str, object]:
        return super()._settings() | {
            "secureClientPort": self.secure_port,
            "secureClientPortAddress": HOST,
            "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
            "ssl.keyStore.location": self._certificate,
            "ssl.keyStore.type": "PEM",
            "ssl.trustStore.location": self._ca,
            "ssl.trustStore.type": "PEM",
            "ssl.clientAuth": "need",
            "sessionRequireClientSASLAuth": str(self._wants_sasl).lower(),
            "authProvider.sasl": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
        }

    def await_answer(self) -> None:
        """Wait until it answers on both ports: a JVM's first TLS handshake takes seconds on a busy machine."""
        super().await_answer()
        secure = (HOST, self.secure_port)
        eventually(lambda: speaks_tls(secure, _FIRST_HANDSHAKE_S), within_s=_FIRST_HANDSHAKE_S)

    def _more_options(self) -> Sequence[str]:
        users = self.data_dir / "jaas.conf"
        login = "org.apache.zookeeper.server.auth.DigestLoginModule"
        users.write_text(f'Server {{ {login} required user_{SASL_USER}="{SASL_PASSWORD}"; }};\n')
        return (f"-Djava.security.auth.login.config={users}",)
