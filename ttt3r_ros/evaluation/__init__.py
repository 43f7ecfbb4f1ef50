"""Trajectory and depth errors, the log of a run, tables and pictures."""
