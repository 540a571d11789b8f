"""The judges that come with tracekit, one small file an idea."""
