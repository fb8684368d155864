"""What a graph may hold: read with the standard library, and checked before onnxruntime sees the file."""
