"""What every package may use: files, text for terminals, suggestions, checked mappings."""
