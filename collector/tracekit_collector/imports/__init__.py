"""What other tools have kept, into a store: MLflow's stores and servers, exports of Langfuse and Phoenix.

Everything goes the way that it would have gone when it happened: spans, runs and points through the inbox, so that the
same import once more adds nothing, and one that was cut off is finished by the next.
"""
