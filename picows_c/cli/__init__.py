"""The command line; it uses the package's public names only."""
