"""Built-in renderers, registered through entry points like anybody else's."""
