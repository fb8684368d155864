"""Reading of requests: rows that a request asks of the graph, and the answers that follow from their outputs."""
