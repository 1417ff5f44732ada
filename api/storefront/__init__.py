"""The storefront: its pages in eight languages, and what they load."""
