"""Weights as files: reads published and native ones, says what they are, fetches them."""
