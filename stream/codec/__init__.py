"""Poses to tokens and back."""
