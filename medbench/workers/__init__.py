"""The same evaluation on many workers: batches of requests, who answers them, and what came back.

=============  ===================================================================
batches        which requests go together, and what a batch costs
replica        what a worker does: load the model, answer a batch
dispatch       the work queue: batches to whoever is free, answers to the store
ray_crew       workers as Ray actors
cluster        the Ray cluster they run in: opened, measured, described
ranks          workers as the ranks of ``torchrun`` or ``accelerate launch``
answered       the driver's lm-eval model: serves what the workers have answered
notices        warnings on their way from the workers
options        what a person asks for
=============  ===================================================================

The driver owns the requests, their keys and the response store; a worker owns a copy of the model and nothing
that must outlive it.
"""
