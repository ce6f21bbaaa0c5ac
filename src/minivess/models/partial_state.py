"""Networks that stand on a frozen base: their state dict holds only what is trained."""

from __future__ import annotations

from typing import Any

import torch


def keep_only_trained(network: torch.nn.Module) -> None:
    """Make a network's ``state_dict()`` hold only the parameters that require gradients now, and load such a dictionary strictly.

    So its weights file is a few megabytes, and whatever works on weights (publish, interpolate, merge) works on adapters.

    Args:
        network: A module whose other parameters and buffers are rebuilt from its base.
    """
    trained = {name for name, value in network.named_parameters() if value.requires_grad}
    frozen = set(network.state_dict()) - trained

    def leave_out(_: torch.nn.Module, state: dict[str, Any], prefix: str, __: Any) -> None:
        for name in frozen:
            state.pop(prefix + name, None)

    def not_missing(_: torch.nn.Module, keys: Any) -> None:
        keys.missing_keys[:] = [key for key in keys.missing_keys if not any(key.endswith(name) for name in frozen)]

    network.register_state_dict_post_hook(leave_out)
    network.register_load_state_dict_post_hook(not_missing)
