"""Training of priors: networks that say how probable each id is, given all ids before it."""
