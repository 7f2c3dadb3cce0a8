"""Built-in methods, registered through entry points like anybody else's."""
