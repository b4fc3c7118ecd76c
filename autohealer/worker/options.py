"""The arguments for a worker's own kazoo client, so that it is let in wherever the worker is.

Must never know: how the worker registers.
"""

from __future__ import annotations

import os

from autohealer import contract
from autohealer.zkclient import login_options

TYPE_CHECKING = False  # what `typing` says too, and importing it would cost 2 ms
if TYPE_CHECKING:
    from typing import Any


def kazoo_options() -> dict[str, Any]:
    """Arguments such that `KazooClient(**kazoo_options())` reaches the ZooKeeper this worker registers with.

    With credentials, what such a client creates is for their user alone, unless told otherwise with `acl`.

    Raises:
        CredentialsError: a file with credentials that the environment names will not do.
    """
    from autohealer.credentials import credentials_named_in  # who asks pays for it

    credentials = credentials_named_in(os.environ)
    hosts = contract.worker_connection(os.environ.get(contract.ENV_ZOOKEEPER, ""))
    options: dict[str, Any] = {"hosts": hosts, **login_options(credentials.login)}
    if (tls := credentials.tls) is not None:
        options |= {"use_ssl": True, "check_hostname": True, "ca": str(tls.ca)}
        if tls.cert is not None:
            # kazoo uses a certificate only when it is told of a key as well.
            options |= {"certfile": str(tls.cert), "keyfile": str(tls.key or tls.cert)}
    return options
