"""Built-in metrics, registered through entry points like anybody else's."""
