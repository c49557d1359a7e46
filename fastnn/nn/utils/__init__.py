"""Gradient clipping, weights of bounded norm, and parameters as one vector."""
from .clip_grad import (clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm, parameters_to_vector,
                        vector_to_parameters)
from .max_norm import max_norm_

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm", "max_norm_", "parameters_to_vector",
           "vector_to_parameters"]
