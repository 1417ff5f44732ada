"""/metrics: what the server counts, as Prometheus reads it. Its owners count; the collectors here only read."""
