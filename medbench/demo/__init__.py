"""The bundled demo: a tiny MING-MOE-like checkpoint and the script that trained it from the bundled samples.

It shows how medbench works, not how good a model is: it has seen the very documents it is evaluated on.
"""

from __future__ import annotations
