"""Shared by the command lines: argument types, progress, folders of results."""
