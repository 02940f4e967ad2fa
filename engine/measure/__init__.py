"""Time and cost of a tokenizer on this machine."""
