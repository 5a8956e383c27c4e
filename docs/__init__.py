"""The documentation, and what its reference is made by."""
