"""What memory a device has left, and what running out of it looks like."""

from __future__ import annotations

import torch

_processes = 1  # that share the host's memory


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU or on the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "out of memory" in text.lower() or "can't allocate memory" in text or "not enough memory" in text
    )


def free_memory(device: torch.device) -> int:
    """Bytes that this process may still take on a device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    import psutil

    return int(psutil.virtual_memory().available) // _processes


def release_memory(device: torch.device) -> None:
    """Give cached blocks back after running out."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def share_memory(processes: int) -> None:
    """Let this process take only its share of the host's memory: as many as this count on what is free."""
    global _processes
    _processes = max(1, processes)
