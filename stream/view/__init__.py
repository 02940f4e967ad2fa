"""The live page: bodies, tokens and numbers of a stream or a log, in a browser."""
