"""Requests on their way: queue, worker, record, decision log, metrics."""
