"""Where and how the network computes: device, CUDA graph, transfers to and from it."""
