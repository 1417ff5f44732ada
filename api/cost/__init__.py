"""What drops cost on Aurora DSQL, for `dropzero cost`: a forecast, and what the orders in a database have cost."""
