"""The collector: OTLP in, an open lake of Parquet out, and everything that reads it."""
