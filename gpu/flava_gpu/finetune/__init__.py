"""Fine-tuning as a process of its own: `python -m flava_gpu.finetune --job job.json --workdir DIR`. See protocol.py."""
