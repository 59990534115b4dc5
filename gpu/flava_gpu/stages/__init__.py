"""Training, one script a stage."""
