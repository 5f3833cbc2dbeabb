"""The built-in plugins, installed as the package ``conceptnet_plugins``: one algorithm a file."""
