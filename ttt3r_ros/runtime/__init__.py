"""Where and how the network computes: devices, CUDA graphs, transfers."""
