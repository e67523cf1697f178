"""Frozen encoders as pure functions from inputs to features.

efficientnet           EfficientNet-Lite0, trained on ImageNet
efficientnet_weights   its published weights, fetched on first use
torch_file             PyTorch's weight files, read without PyTorch
"""
