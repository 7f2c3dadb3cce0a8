"""Pages made of stored maps."""
