"""A kazoo client set up to keep its session through trouble; the daemon's and every worker's.

Theory of operation: a session outlives its connection by the session timeout, so everything that
precedes the next connection must fit into it several times: the pauses between attempts, the wait
for a silent host, and the wait for a server that accepts a connection and does not answer the
handshake, as Apache ZooKeeper does for a moment while it starts.

A server whose history is shorter than what the client has seen drops its handshakes without a word, so that
nobody reads an older state. After a store came back empty that is every server, for ever. Once handshakes have
been dropped for a whole session timeout, the client therefore forgets what it has seen. It keeps its session:
one that still exists is taken up again, one that does not is lost and replaced.

A connection counts only when the server has accepted who we are. kazoo says CONNECTED before it asks that, and a
refusal ends its client for good; here it is one more connection that failed, and is tried again. Whatever a
person has to mend is told in a sentence: a connection that no time will bring.

Must never know: what the session is for.

Limits: this replaces methods of kazoo, some of them private. After the client forgot, a lagging server may
show it an older state than it saw before; who cannot bear that calls `sync` before the first read of a connection.
"""

from __future__ import annotations

import logging
import ssl
import time

from kazoo.client import KazooClient
from kazoo.exceptions import (
    AuthFailedError,
    ConnectionDropped,
    SASLException,
    SessionClosedRequireSaslError,
    SessionExpiredError,
    ZookeeperError,
)
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.serialization import SASL, Connect, Exists
from kazoo.protocol.states import KeeperState
from kazoo.retry import KazooRetry
from kazoo.security import make_acl, make_digest_acl

from autohealer.patience import LEAST_S, Patience

TYPE_CHECKING = False  # what `typing` says too, and importing it would cost 2 ms
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from kazoo.protocol.serialization import ReplyHeader

    from autohealer.credentials import Credentials, Login
    from autohealer.zktls import TlsClient

SASL_STEPS_MAX = 8
"""DIGEST-MD5 takes three; a server that knows nothing of SASL answers for ever, and kazoo would ask for ever."""
WONDER_AFTER_S = 1.0
"""A server that drops handshakes for so long is not about to start: it may want TLS, or a certificate."""

_CONNECTED = (KeeperState.CONNECTED, KeeperState.CONNECTED_RO)


def _say_nothing(_sentence: str) -> None:
    """For those who learn by themselves that there is no connection."""


def _nobody() -> int:
    """Who is alone makes way for nobody."""
    return 0


def client_for(
    connection: str,
    session_timeout_s: float,
    credentials: Credentials | None = None,
    tell: Callable[[str], None] = _say_nothing,
    neighbours: Callable[[], int] = _nobody,
    session: tuple[int, bytes] | None = None,
) -> KazooClient:
    """Prepare a client; nothing is connected yet.

    `session` is the id and password of an earlier client's session, which goes on if it has not ended.

    `neighbours` tells, on kazoo's connection thread, how many others come back when this one does.

    `tell` is called on kazoo's connection thread when it becomes known what a person has to mend before there can be a
    connection, with a sentence, and with an empty text once there is one.

    Raises:
        CredentialsError: the TLS files cannot be used.
    """
    # A dropped connection is nobody's error: kazoo would warn on standard error every second.
    log = logging.getLogger("autohealer.kazoo")
    log.setLevel(logging.ERROR)
    client = KazooClient(
        hosts=connection,
        timeout=session_timeout_s,
        client_id=session,
        handler=SequentialThreadingHandler(),
        logger=log,
        # kazoo's own default doubles the pause up to an hour, far beyond any session.
        connection_retry=KazooRetry(
            max_tries=-1, delay=0.1, backoff=1.3, max_delay=1.0, max_jitter=0.3
        ),
        **login_options(None if credentials is None else credentials.login),
    )
    patience = Patience(client, session_timeout_s, neighbours)
    _Entrance(client, session_timeout_s, credentials, tell, patience)
    return client


def login_options(login: Login | None) -> dict[str, object]:
    """What makes a `KazooClient` prove to be a user, and give what it creates to that user alone."""
    if login is None:
        return {}
    from autohealer.credentials import Scheme, Secret  # who has a login pays for it

    if login.scheme is Scheme.DIGEST:
        proof = Secret(f"{login.user}:{login.password}")
        only_ours = make_digest_acl(login.user, login.password, all=True)
        return {"auth_data": [(login.scheme.value, proof)], "default_acl": [only_ours]}
    how = {"mechanism": "DIGEST-MD5", "username": login.user, "password": login.password}
    only_ours = make_acl(login.scheme.value, login.user, all=True)
    return {"sasl_options": how, "default_acl": [only_ours]}


def _tls_client(credentials: Credentials | None) -> TlsClient | None:
    if credentials is None or credentials.tls is None:
        return None
    from autohealer.zktls import TlsClient  # who speaks TLS pays for it

    return TlsClient(credentials.tls)


class _Entrance:
    """One client's way into ZooKeeper; everything here runs on its connection thread."""

    def __init__(
        self,
        client: KazooClient,
        session_timeout_s: float,
        credentials: Credentials | None,
        tell: Callable[[str], None],
        patience: Patience,
    ) -> None:
        self._client = client
        self._session_timeout_s = session_timeout_s
        self._login = None if credentials is None else credentials.login
        self._tls = _tls_client(credentials)
        self._tell = tell
        self._told = ""
        self._address = ("", 0)
        self._named = ""
        self._dropped_since_s: float | None = None
        self._was_asked_for_tls = False
        self._sasl_steps = 0
        self._is_more_wanted = False
        self._patience = patience
        self._replace_methods()

    def _replace_methods(self) -> None:
        handler, connection = self._client.handler, self._client._connection
        self._kazoos_create = handler.create_connection
        self._kazoos_select = handler.select
        self._kazoos_connect = connection._connect
        self._kazoos_invoke = connection._invoke
        self._kazoos_submit = connection._submit
        self._kazoos_read_response = connection._read_response
        handler.create_connection = self._create_connection
        connection._connect = self._connect
        connection._invoke = self._invoke
        connection._submit = self._submit
        connection._read_response = self._read_response
        if self._tls is not None:
            handler.select = self._select

    # --- what replaces kazoo's methods --------------------------------------------------------

    def _connect(self, host: str, ip: str, port: int) -> object:
        """Be let in before that is told."""
        self._address = (ip, port)
        self._named = f"{host}:{port}" if ":" not in host else f"[{host}]:{port}"
        self._sasl_steps = 0
        if self._tls is not None:
            self._tls.forget()
        state_changed = self._client._session_callback
        to_be_told: list[KeeperState] = []

        def hold_back(state: KeeperState) -> None:
            if state in _CONNECTED:
                to_be_told.append(state)
            else:
                state_changed(state)

        self._client._session_callback = hold_back
        try:
            answer = self._kazoos_connect(host, ip, port)
            if self._is_more_wanted:
                self._kazoos_invoke(self._answer_within_s(), Exists("/", None), xid=1)
        except SessionExpiredError:
            raise
        except (ZookeeperError, SASLException, RuntimeError) as error:
            # RuntimeError: an error code that kazoo does not know.
            self._note(self._refusal(error))
            raise ConnectionDropped("not let in") from error
        except ConnectionDropped as error:
            self._look_into(error)
            raise
        finally:
            self._client._session_callback = state_changed
        self._note("")
        for state in to_be_told:
            state_changed(state)
        return answer

    def _create_connection(self, *args: object, timeout: float, **options: object) -> object:
        """Leave a silent host early; kazoo would spend the whole session timeout on each."""
        self._patience.make_way()
        try:
            within_s = self._patience.connect_s(timeout)
            plain = self._kazoos_create(*args, timeout=within_s, **options)
        except TimeoutError:
            self._patience.gave_up()
            raise
        if self._tls is None:
            return plain
        host = str(options.get("hostname") or self._address[0])
        return self._tls.secure(plain, host, self._answer_within_s())

    def _invoke(self, timeout: float, request: object, **options: object) -> object:
        """Leave a silent server early, where kazoo would wait for the whole session timeout; come to terms with an
        empty one, which kazoo would ask in vain for ever."""
        try:
            within_s = self._patience.handshake_s(timeout)
            answer = self._kazoos_invoke(within_s, request, **options)
        except self._client.handler.timeout_exception:
            if isinstance(request, Connect):
                self._patience.gave_up_handshake(request)
            raise
        except ConnectionDropped:
            if isinstance(request, Connect):
                self._handshake_was_dropped()
            raise
        self._dropped_since_s = None
        self._patience.answered()
        if isinstance(request, Connect) and (granted_ms := answer[0].time_out) > 0:
            self._patience.session_lasts(granted_ms / 1000)
        return answer

    def _answer_within_s(self) -> float:
        return self._patience.handshake_s(self._session_timeout_s)

    def _submit(self, request: object, *args: object, **options: object) -> None:
        if isinstance(request, SASL):
            self._sasl_steps += 1
            if self._sasl_steps > SASL_STEPS_MAX:
                raise AuthFailedError("no end of SASL")
        self._kazoos_submit(request, *args, **options)

    def _read_response(self, header: ReplyHeader, *args: object) -> object:
        """Notice that this server lets everybody connect, and then only some do anything: there is no connection until
        a request is answered."""
        if header.err == SessionClosedRequireSaslError.code:
            self._is_more_wanted = True
        return self._kazoos_read_response(header, *args)

    def _select(
        self,
        readers: Sequence[object],
        writers: Sequence[object],
        failing: Sequence[object],
        timeout: float | None = None,
    ) -> object:
        """See also what has been decrypted already: of several answers in one TLS record kazoo would read the first,
        and each of the others only when something else arrives."""
        decrypted: list[socket.socket] = [
            reader for reader in readers if isinstance(reader, ssl.SSLSocket) and reader.pending()
        ]
        if not decrypted:
            return self._kazoos_select(readers, writers, failing, timeout)
        others, writable, failed = self._kazoos_select(readers, writers, failing, 0)
        return (
            [*decrypted, *(other for other in others if other not in decrypted)],
            writable,
            failed,
        )

    # --- what went wrong ----------------------------------------------------------------------

    def _handshake_was_dropped(self) -> None:
        now_s = time.monotonic()
        self._dropped_since_s = now_s if self._dropped_since_s is None else self._dropped_since_s
        if now_s - self._dropped_since_s > self._session_timeout_s:
            self._client.last_zxid = 0

    def _look_into(self, dropped: ConnectionDropped) -> None:
        """Note what only a person can mend; a server that is away or starting is not that."""
        is_time_to_wonder = self._is_time_to_wonder()
        if self._tls is not None:
            wrong = self._tls.what_went_wrong(dropped.__context__)
            if wrong is None and is_time_to_wonder and self._tls.is_secured:
                wrong = self._tls.refuses_afterwards
            if wrong is not None:
                self._note(wrong)
        elif is_time_to_wonder and not self._was_asked_for_tls:
            from autohealer.zktls import SPEAKS_TLS, speaks_tls  # nobody else pays for it

            self._was_asked_for_tls = True
            if speaks_tls(self._address, LEAST_S):
                self._note(SPEAKS_TLS)

    def _is_time_to_wonder(self) -> bool:
        since_s = self._dropped_since_s
        return since_s is not None and time.monotonic() - since_s > WONDER_AFTER_S

    def _refusal(self, error: Exception) -> str:
        if self._login is None:
            return (
                f"lets nobody in without credentials ({type(error).__name__}): "
                "give some with --zookeeper-auth (AUTOHEALER_ZOOKEEPER_AUTH)"
            )
        if isinstance(error, SessionClosedRequireSaslError):
            return f"wants another proof than the user and password in {self._login.file}, such as SASL"
        is_sasl = self._login.scheme.value == "sasl"
        if is_sasl and (
            self._sasl_steps > SASL_STEPS_MAX or not isinstance(error, AuthFailedError)
        ):
            return (
                f"takes no SASL, which {self._login.file} asks for: use digest there, or set it up"
            )
        return f"does not accept the user and password in {self._login.file} ({self._login.scheme.value})"

    def _note(self, wrong: str) -> None:
        if not wrong:
            self._was_asked_for_tls = False
        sentence = wrong and f"ZooKeeper at {self._named} {wrong}"
        if sentence != self._told:
            self._told = sentence
            self._tell(sentence)
