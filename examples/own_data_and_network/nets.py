"""A network: whatever gives a `torch.nn.Module`."""

from torch import nn


def make_cnn(inputs, outputs, width=8):
    """Two convolutions and a linear layer; `inputs` is the shape of an image, `(channels, height, width)`."""
    channels, rows, columns = inputs
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(width * ((rows + 1) // 2) * ((columns + 1) // 2), outputs),
    )
