"""NATS JetStream: packets kept by brokers, for many readers, over the loss of machines."""
