"""The architecture: configurations, mixtures of LoRA experts as layers, their arithmetic and ablations."""
