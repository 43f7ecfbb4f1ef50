"""Public benchmarks by their published protocols: data sets, the run over them, results beside published figures.

`run.evaluate` is the command `evaluate` as a function; `catalog.DATASETS` says what there is.
"""
