"""The ground floor: what a tokenizer directory holds, and sessions that run one without torch."""
