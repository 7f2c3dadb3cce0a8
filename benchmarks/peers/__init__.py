"""The same networks and pictures explained by us and by other libraries."""
