"""One module per engine: how a tokenizer's graphs are run."""
