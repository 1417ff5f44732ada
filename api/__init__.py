"""DROPZERO: limited drops that sell exactly their stock."""
