"""Everything a logged model needs to answer, and the same code in training.

The files of this package travel inside every logged model, so they import each other by relative paths, NumPy and
pandas, and Keras inside functions; nothing else.
"""
