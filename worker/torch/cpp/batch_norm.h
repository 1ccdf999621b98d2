// BatchNorm of one shard alone on a GPU; batch_norm.cpp has the other cases.
#pragma once

#include <ATen/core/Tensor.h>
#include <vector>

namespace ulda {

// What `count` layers give, every layer's y first, then every layer's mean and biased variance in turn, [parts, C] each.
// All inputs lie on one GPU and have images.
std::vector<at::Tensor> cudnn_batch_norms(
    at::TensorList xs, at::TensorList weights, at::TensorList biases, double eps, int64_t parts);

} // namespace ulda
