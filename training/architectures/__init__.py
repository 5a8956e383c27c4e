"""onesheet's architectures: a function under `@whole_network` or `@backbone` here is found by its name."""
