"""The reader's end of the wire."""
