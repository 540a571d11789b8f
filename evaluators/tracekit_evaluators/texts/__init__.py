"""Measures of texts: how alike two are, and how easy one is to read. Pure functions, no model, no network."""
