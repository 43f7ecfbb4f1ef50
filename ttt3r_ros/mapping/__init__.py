"""Depth images and clouds of a frame, the voxel map of many frames, PLY files."""
