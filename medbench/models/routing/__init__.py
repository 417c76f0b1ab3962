"""What routers chose: recording, counts, traces, and the invariants that hold for them."""
