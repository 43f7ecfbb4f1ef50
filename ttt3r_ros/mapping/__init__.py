"""Points of many frames: clouds, the accumulated voxel map, PLY files."""
