"""Serving: agent versions behind HTTP, each in worker processes of its own environment.

`Server` holds the door, and for each version that is served a pool of workers. A request goes over one socket to one
worker and back; its server span and its inference record are written behind the answer.
"""
