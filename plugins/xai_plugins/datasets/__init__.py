"""Built-in datasets, registered through entry points like anybody else's."""
