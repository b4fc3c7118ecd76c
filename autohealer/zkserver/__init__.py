"""An embedded single-node server that speaks the ZooKeeper wire protocol.

For one machine: development, tests, demos, single-host use. More than one machine means an Apache
ZooKeeper ensemble; clients cannot tell the difference, because the protocol is the same.

Theory of operation. Bytes become frames and requests (`wire`, `decoding`); the `machine` checks a
request against the tree (`draft`, `acl`, `paths`), turns it into a transaction (`txn`), has it kept
by the `journal`, applies it (`state`, `tree`) and answers (`replies`) after the watch events it
caused (`watches`). `sessions` says whose time has run out. Only `server` and `journal` do I/O; all
else takes the time as an argument.

An island: imports nothing from the rest of autohealer. Only the command line imports it, and who must know whose
a socket is (`endpoints`).
"""
