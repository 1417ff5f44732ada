"""The commands of `dropzero` that call a running server, and what all commands share."""
