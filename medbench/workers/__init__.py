"""The same evaluation on many workers: batches of requests, the workers, and their results.

=============  ===================================================================
batches        requests that are answered together, and their cost
replica        a worker: loads the model, answers batches
dispatch       the work queue: batches to idle workers, answers to the store
ray_pool       workers as Ray actors
cluster        how many workers there are, and the Ray cluster that they run in
ranks          workers as the ranks of ``torchrun`` or ``accelerate launch``
answered       the driver's lm-eval model: serves the answers of the workers
notices        warnings sent by the workers
=============  ===================================================================

The driver owns the requests, their keys and the response store; a worker owns a copy of the model and no
lasting state.
"""
