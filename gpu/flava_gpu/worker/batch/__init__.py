"""Batches: OpenAI's JSONL of requests in, two JSONL files of answers and errors out."""
