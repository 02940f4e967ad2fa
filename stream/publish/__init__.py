"""The producer's end of the wire."""
