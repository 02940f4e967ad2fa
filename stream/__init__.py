"""The live system: motion goes in, packets of tokens come out over ZeroMQ."""
