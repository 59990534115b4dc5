"""What every training stage shares: configuration, optimizer, run folder, initialization."""
