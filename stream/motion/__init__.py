"""Pure functions on poses, shared by the live system and by training."""
