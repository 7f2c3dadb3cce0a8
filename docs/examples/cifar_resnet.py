"""CIFAR ResNets (He et al. 2015, section 4.2) with a parameter-free shortcut: a backbone of one's own in one file."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import nn

from xai_framework.core import File, ModelAdapter, Preprocess, load_weights, param


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.stride, self.pad = stride, (outputs - inputs) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad)))


class Net(nn.Module):
    def __init__(self, depth):
        super().__init__()
        n, self.conv1, self.bn1 = (depth - 2) // 6, nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(n)))
        self.layer2 = nn.Sequential(Block(16, 32, 2), *(Block(32, 32, 1) for _ in range(n - 1)))
        self.layer3 = nn.Sequential(Block(32, 64, 2), *(Block(64, 64, 1) for _ in range(n - 1)))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


@dataclass(frozen=True)
class CifarResnet(ModelAdapter):
    """ResNet for 32 x 32 pictures."""

    weights: File = param(doc="state dict")
    depth: int = param(20, ge=8, doc="20, 32, 44, 56 or 110 layers")
    labels = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    preprocess = Preprocess(resize=(32, 32), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

    def load(self):
        model = Net(self.depth)
        load_weights(model, self.weights)
        return model
