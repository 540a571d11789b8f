"""Adapters: other packages' scorers as judges here, and judges from here as their scorers."""
