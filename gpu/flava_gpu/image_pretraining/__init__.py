"""How the image encoder learns from pictures alone: masked patches (MIM) or self-distillation (DINO)."""
