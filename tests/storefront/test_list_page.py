"""The list of drops as the server sends it: what a reader without script sees."""

LATER, LATEST = "2998-01-01T00:00:00Z", "2999-01-01T00:00:00Z"
