"""Tokens in files: what is read to make them, and the formats in which they are written."""
