"""Networks as files: graphs that engines run, and weights that both graphs of a tokenizer share."""
