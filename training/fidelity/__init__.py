"""Proof that what is served is the model: true ViT-B/16 shapes against other people's code.

`make test-fidelity` runs it. Weights are random, for no pre-trained ones are needed to show that
the arithmetic is the same; they are written in the three published formats, exported by
`agiqa-train`, served by the real tritonserver and by `bin/agiqa`, and held against transformers,
open_clip and an independent PyTorch forward of CLIP-AGIQA. Nothing of `agiqa_train` takes part in
a reference value.
"""
