"""Trials: measure penalties by training with them."""
