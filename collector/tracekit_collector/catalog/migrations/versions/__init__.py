"""Migrations of the catalog, oldest first."""
