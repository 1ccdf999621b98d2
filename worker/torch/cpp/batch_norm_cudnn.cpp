// BatchNorm of one shard alone on a GPU: one call of cuDNN for each layer and part in each pass, as PyTorch makes it.
#include "batch_norm.h"

#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cudnn_batch_norm.h>
#include <ATen/ops/cudnn_batch_norm_backward.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// Statistics begin at multiples of this many float32 values (256 bytes).
constexpr int64_t ALIGNMENT = 64;

int64_t padded(int64_t channels) {
  return (channels + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

// Mean and variance of a layer's parts within one buffer, rows of `padded(channels)`.
struct Statistics {
  at::Tensor mean_rows, var_rows;
  int64_t channels;

  Statistics(const at::Tensor& buffer, int64_t at, int64_t parts, int64_t c)
      : mean_rows(buffer.narrow(0, at, parts * padded(c)).view({parts, -1})),
        var_rows(buffer.narrow(0, at + parts * padded(c), parts * padded(c)).view({parts, -1})),
        channels(c) {}

  at::Tensor mean() const {
    return mean_rows.narrow(1, 0, channels);
  }

  at::Tensor var() const {
    return var_rows.narrow(1, 0, channels);
  }
};

struct CudnnBatchNorms : torch::autograd::Function<CudnnBatchNorms> {
  static variable_list forward(
      AutogradContext* ctx, at::TensorList xs, at::TensorList weights, at::TensorList biases, double eps, int64_t parts) {
    int64_t length = 0;
    for (const auto& x : xs) {
      length += 2 * parts * padded(x.size(1));
    }
    // With a factor of 1, cuDNN's running statistics are those of the batch; the variance is the unbiased one.
    const auto buffer = at::zeros({length}, xs[0].options());
    variable_list ys, layers, calls;
    std::vector<Statistics> statistics;
    std::vector<at::Tensor> vars;
    std::vector<at::Scalar> to_biased;
    int64_t at = 0;
    for (size_t l = 0; l < xs.size(); l++) {
      const auto x = xs[l].contiguous(xs[l].suggest_memory_format());
      statistics.emplace_back(buffer, at, parts, x.size(1));
      at += 2 * parts * padded(x.size(1));
      const auto mean = statistics[l].mean(), var = statistics[l].var();
      const auto each = x.chunk(parts);
      variable_list normalised;
      for (int64_t p = 0; p < parts; p++) {
        auto [y, saved_mean, saved_invstd, reserve] =
            at::cudnn_batch_norm(each[p], weights[l], biases[l], mean[p], var[p], true, 1.0, eps);
        normalised.push_back(y);
        calls.insert(calls.end(), {saved_mean, saved_invstd, reserve});
      }
      ys.push_back(parts == 1 ? normalised[0] : at::cat(normalised));
      layers.insert(layers.end(), {x, weights[l]});
      const double count = static_cast<double>(x.size(0) / parts * x.size(2) * x.size(3));
      vars.push_back(statistics[l].var_rows);
      to_biased.emplace_back((count - 1.0) / count);
    }
    at::_foreach_mul_(vars, to_biased);
    layers.insert(layers.end(), calls.begin(), calls.end());
    ctx->save_for_backward(layers);
    ctx->saved_data["layers"] = static_cast<int64_t>(xs.size());
    ctx->saved_data["parts"] = parts;
    ctx->saved_data["eps"] = eps;
    variable_list found;
    for (const auto& of_layer : statistics) {
      found.push_back(of_layer.mean());
      found.push_back(of_layer.var());
    }
    ctx->mark_non_differentiable(found);
    // Else the statistics would each have a gradient of zeros, made in a launch.
    ctx->set_materialize_grads(false);
    ys.insert(ys.end(), found.begin(), found.end());
    return ys;
  }

  static variable_list backward(AutogradContext* ctx, variable_list outputs) {
    const auto saved = ctx->get_saved_variables();
    const size_t layers = ctx->saved_data["layers"].toInt();
    const int64_t parts = ctx->saved_data["parts"].toInt();
    const double eps = ctx->saved_data["eps"].toDouble();
    variable_list of_x(layers), of_weight(layers), of_bias(layers);
    for (size_t l = 0; l < layers; l++) {
      const auto &x = saved[2 * l], &weight = saved[2 * l + 1];
      const auto dy = outputs[l].defined() ? outputs[l].contiguous(x.suggest_memory_format()) : at::zeros_like(x);
      const bool trained = ctx->needs_input_grad(layers + l);
      const auto xs = x.chunk(parts), dys = dy.chunk(parts);
      variable_list dxs;
      for (int64_t p = 0; p < parts; p++) {
        const auto* call = saved.data() + 2 * layers + (l * parts + p) * 3;
        auto [dx, dweight, dbias] =
            at::cudnn_batch_norm_backward(xs[p], dys[p], weight, {}, {}, call[0], call[1], eps, call[2]);
        dxs.push_back(dx);
        if (trained) {
          of_weight[l] = p == 0 ? dweight : of_weight[l].add_(dweight);
          of_bias[l] = p == 0 ? dbias : of_bias[l].add_(dbias);
        }
      }
      if (ctx->needs_input_grad(l)) {
        of_x[l] = parts == 1 ? dxs[0] : at::cat(dxs);
      }
    }
    variable_list gradients = std::move(of_x);
    gradients.insert(gradients.end(), of_weight.begin(), of_weight.end());
    gradients.insert(gradients.end(), of_bias.begin(), of_bias.end());
    // Neither eps nor parts has one.
    gradients.resize(gradients.size() + 2);
    return gradients;
  }
};

} // namespace

std::vector<at::Tensor> ulda::cudnn_batch_norms(
    at::TensorList xs, at::TensorList weights, at::TensorList biases, double eps, int64_t parts) {
  return CudnnBatchNorms::apply(xs, weights, biases, eps, parts);
}
