"""How well scores agree with people: correlations, logistic mappings, bootstrap intervals.

Every algorithm here is written down so exactly that the Go package `evaluation/` gives the same
figures to 1e-9 on the same scores; `goldens.py` writes the cases that hold both sides to it.
SciPy is the oracle of the tests, and is called here for nothing but the normal distribution.
"""
