"""Networks that a file carries as a graph (`.pt2`, ONNX), run by torch one node at a time; nothing else is executed."""
