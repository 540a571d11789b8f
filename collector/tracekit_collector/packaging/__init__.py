"""Packages: an agent version's source, locked dependencies and entry point as one file that can be run anywhere."""
