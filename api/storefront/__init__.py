"""The storefront: its pages in eight languages, and the files that they load."""
