"""The GPU worker: leases jobs from the gateway over HTTP, does them with PyTorch, brings the results back."""
