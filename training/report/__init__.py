"""Pages, pictures and cards."""
