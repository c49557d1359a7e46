"""Forward and backward of every operation family on NumPy arrays, without autograd: for people who bring their own framework.

The form is `X_forward(inputs..., *, options, out=None)`, which gives y or (y, saved), and
`X_backward(dy, saved or forward's inputs..., *, options)`, which gives the gradients in argument order. Arrays are float32 or
float64 of any strides, all of one type in a call; results are fresh arrays unless `out` is given, which must have the result's
shape and type. Names and order are permanent.

Errors: TypeError for what is not an array of such a type, RuntimeError for shapes that do not fit, both naming what was received.

Example:
    >>> import numpy as np
    >>> from fastnn import kernels as k
    >>> x, w, b = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32), np.zeros(4, np.float32)
    >>> y = k.linear_forward(x, w, b)
    >>> y.shape
    (2, 4)
    >>> [g.shape for g in k.linear_backward(np.ones_like(y), x, w)]
    [(2, 3), (4, 3), (4,)]
"""
from .activation import (elu_backward, elu_forward, gelu_backward, gelu_forward, hardtanh_backward, hardtanh_forward, leaky_relu_backward,
                         leaky_relu_forward, log_softmax_backward, log_softmax_forward, prelu_backward, prelu_forward, relu_backward, relu_forward,
                         sigmoid_backward, sigmoid_forward, silu_backward, silu_forward, softmax_backward, softmax_forward, softplus_backward,
                         softplus_forward, tanh_backward, tanh_forward)
from .attention import scaled_dot_product_attention_backward, scaled_dot_product_attention_forward
from .conv import conv2d_backward, conv2d_forward, conv_transpose2d_backward, conv_transpose2d_forward
from .dropout import dropout_backward, dropout_forward
from .embedding import embedding_backward, embedding_forward
from .loss import (binary_cross_entropy_backward, binary_cross_entropy_forward, binary_cross_entropy_with_logits_backward,
                   binary_cross_entropy_with_logits_forward, gaussian_nll_backward, gaussian_nll_forward, huber_backward, huber_forward,
                   kl_div_backward, kl_div_forward, l1_backward, l1_forward, mse_backward, mse_forward, smooth_l1_backward, smooth_l1_forward,
                   softmax_cross_entropy_backward, softmax_cross_entropy_forward)
from .matmul import linear_backward, linear_forward, matmul_backward, matmul_forward
from .norm import (batch_norm_backward, batch_norm_forward, group_norm_backward, group_norm_forward, instance_norm_backward, instance_norm_forward,
                   layer_norm_backward, layer_norm_forward, rms_norm_backward, rms_norm_forward)
from .pool import (adaptive_avg_pool2d_backward, adaptive_avg_pool2d_forward, avg_pool2d_backward, avg_pool2d_forward, max_pool2d_backward,
                   max_pool2d_forward)
from .upsample import interpolate_backward, interpolate_forward
