"""Several calibrated cameras that see the same people."""
