"""Attention and linear layers on tensors, by PyTorch operations, Triton kernels or C; none knows a module."""
