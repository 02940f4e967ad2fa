"""How good a tokenizer is on recordings."""
