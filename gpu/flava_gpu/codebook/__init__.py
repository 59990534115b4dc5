"""The visual tokenizer: a discrete VAE whose encoder is transformers' FlavaImageCodebook."""
