"""A folder for `PYTHONPATH`: its `sitecustomize` begins tracing before the program that `tracekit run` starts."""
