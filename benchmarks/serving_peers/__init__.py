"""What `benchmarks.serving` runs against: the peers, each as its documentation has it, the model, and the load."""
