"""The multimodal work itself, on PyTorch: what goes in is the contract's input of a kind, what comes out its result."""
