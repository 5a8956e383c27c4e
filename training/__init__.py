"""Floor 3: from stored posters to a versioned model bundle in the registry."""
