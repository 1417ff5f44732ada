"""The shop: its name, its look and its own words, as the operator has written them in a file."""
