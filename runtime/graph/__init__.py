"""Contents that a graph may have: read with the standard library, and checked before onnxruntime sees the file."""
