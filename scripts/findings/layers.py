"""What the layers of a network are called."""


def layer_names(layers: int) -> list[str]:
    """By the neurons that they lead to: `first hidden`, `second hidden`, `last hidden`, `output`."""
    hidden = layers - 1
    ordinals = ["first", "second", "third", "fourth", "fifth"][: max(1, hidden - 1)]
    last = ["last hidden"] if hidden > 1 else []
    return [*(f"{ordinal} hidden" for ordinal in ordinals), *last, "output"]
