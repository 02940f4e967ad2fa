"""Images in, people with ids out."""
