"""Measurements: speed as ratios of two things in one run, accuracy on flats that nothing was fitted to."""
