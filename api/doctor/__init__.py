"""Checks everything that a start and a drop need, for `dropzero doctor`. It changes nothing."""
