"""Makes tokenizers with PyTorch; the live system never imports it."""
