"""Training data as sharded tar files in WebDataset's layout, streamed in constant memory."""
