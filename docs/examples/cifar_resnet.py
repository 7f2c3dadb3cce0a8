from dataclasses import dataclass

from torch import nn

from xai_framework.core import File, ModelAdapter, Preprocess, load_weights, param


class Block(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.step, self.pad = outputs // inputs, (outputs - inputs) // 2
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, self.step, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)

    def forward(self, x):
        shortcut = nn.functional.pad(x[:, :, :: self.step, :: self.step], (0, 0, 0, 0, self.pad, self.pad))
        return (self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())) + shortcut).relu()


def network(depth):
    net = nn.Sequential()
    net.conv1, net.bn1, net.relu = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
    for i, (a, b) in enumerate(((16, 16), (16, 32), (32, 64)), 1):
        setattr(net, f"layer{i}", nn.Sequential(Block(a, b), *(Block(b, b) for _ in range(depth // 6 - 1))))
    net.pool, net.flatten, net.linear = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    return net


@dataclass(frozen=True)
class CifarResnet(ModelAdapter):
    """ResNet for 32 x 32 pictures with a parameter-free shortcut (He et al. 2015, section 4.2, option A)."""

    weights: File = param(doc="state dict")
    depth: int = param(20, ge=8, doc="20, 32, 44, 56 or 110 layers")
    labels = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    preprocess = Preprocess(resize=(32, 32), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

    def load(self):
        load_weights(model := network(self.depth), self.weights)
        return model
