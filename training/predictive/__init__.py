"""Training of predictive tokenizers, from the first weights to the exported directory."""
