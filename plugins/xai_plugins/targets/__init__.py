"""Built-in targets, registered through entry points like anybody else's."""
