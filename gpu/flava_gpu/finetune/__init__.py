"""Fine-tuning as a process of its own: data sets, methods, resumable checkpoints."""
