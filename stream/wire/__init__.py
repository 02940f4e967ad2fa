"""Bytes, sockets and keys: what both ends share."""
