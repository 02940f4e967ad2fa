"""What every command shares: flags, messages, metrics, start and stop."""
