"""Training, evaluation and export for agiqa: PyTorch in, ONNX encoders and checkpoint bundles out.

The serving side never imports this package. What it leaves behind are the two encoder graphs in
`model_repository/` and bundle folders such as `demo/checkpoints/demo/`.
"""

__version__ = "0.1.0"
