"""The native engine: batches without padding, shared prefixes, and a store of keys and values."""
