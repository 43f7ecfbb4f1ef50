"""Everything this package can say about a GPU, in one command: ``python -m benchmark.gpu``; see `__main__`."""
