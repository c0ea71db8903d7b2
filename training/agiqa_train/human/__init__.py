"""How well scores agree with people's ratings of generated images: `agiqa-train evaluate-human`.

`layouts.py` reads data sets as their authors publish them, `sources.py` gets the scores, `report.py`
computes the figures (with `agreement/`), `looks.py` keeps the log of evaluations, and `page.py` writes
the generated parts of docs/quality.md and of the README.
"""
