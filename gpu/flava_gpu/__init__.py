"""FLAVA on PyTorch: data, objectives, training, evaluation and export for flava-edge."""
