"""A Ray cluster of several nodes on one machine, whose nodes can be killed, cut off, drained and filled up."""
