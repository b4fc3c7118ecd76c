"""The loop, its mailbox and its executor, on verified fakes and virtual time."""
