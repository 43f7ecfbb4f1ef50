"""Shared by the command lines: argument types and progress."""
