"""Images that the operator uploads: what they are, where they are kept, and how they are sent."""
