"""Motion recordings and the windows that training draws from them."""
