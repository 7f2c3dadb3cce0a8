"""Built-in backbones, registered through entry points like anybody else's."""
