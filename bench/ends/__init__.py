"""The ends of a benchmark, by library: each module has a table of the roles that it can play."""
