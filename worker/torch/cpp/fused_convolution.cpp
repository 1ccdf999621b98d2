// Convolution with bias, a sum and ReLU behind it, as the frozen networks have them: one call of cuDNN on a GPU, where the
// separate operations are three or four launches and read and write the map as often.
#include "entry.h"

#include <ATen/ops/conv2d.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/cudnn_convolution_add_relu.h>
#include <ATen/ops/cudnn_convolution_relu.h>
#include <ATen/ops/threshold_backward.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/custom_function.h>
#include <array>
#include <atomic>
#include <optional>

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

struct Geometry {
  int64_t stride, padding, dilation;
};

// Set once cuDNN refused a fused convolution. It is then asked for no more in this process.
std::atomic<bool> refused{false};

at::Tensor separate(
    const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& residual, Geometry by) {
  auto y = at::conv2d(x, weight, bias, by.stride, by.padding, by.dilation);
  if (residual.defined()) {
    y.add_(residual);
  }
  return y.relu_();
}

at::Tensor fused(
    const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& residual, Geometry by) {
  const auto both = [](const int64_t& one) { return std::array<int64_t, 2>{one, one}; };
  const auto stride = both(by.stride), padding = both(by.padding), dilation = both(by.dilation);
  if (residual.defined()) {
    return at::cudnn_convolution_add_relu(x, weight, residual, 1, bias, stride, padding, dilation, /*groups=*/1);
  }
  return at::cudnn_convolution_relu(x, weight, bias, stride, padding, dilation, /*groups=*/1);
}

at::Tensor activation(
    const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& residual, Geometry by) {
  if (!x.is_cuda() || x.numel() == 0 || refused) {
    return separate(x, weight, bias, residual, by);
  }
  try {
    return fused(x, weight, bias, residual, by);
  } catch (const c10::OutOfMemoryError&) {
    throw;
  } catch (const std::exception& error) {
    // An error with another cause comes back here.
    auto y = separate(x, weight, bias, residual, by);
    if (!refused.exchange(true)) {
      TORCH_WARN(
          "cuDNN has no fused convolution for ", x.scalar_type(), " here, so the frozen networks run without: ",
          error.what());
    }
    return y;
  }
}

// The weight and the bias have no gradient.
struct FusedConvolution : torch::autograd::Function<FusedConvolution> {
  static at::Tensor forward(
      AutogradContext* ctx,
      const at::Tensor& x,
      const at::Tensor& weight,
      const at::Tensor& bias,
      const std::optional<at::Tensor>& residual,
      int64_t stride,
      int64_t padding,
      int64_t dilation) {
    const auto y = activation(x, weight, bias, residual.value_or(at::Tensor()), {stride, padding, dilation});
    ctx->save_for_backward({x, weight, y});
    ctx->saved_data["residual"] = residual.has_value();
    ctx->saved_data["stride"] = stride;
    ctx->saved_data["padding"] = padding;
    ctx->saved_data["dilation"] = dilation;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list outputs) {
    const auto saved = ctx->get_saved_variables();
    const int64_t stride = ctx->saved_data["stride"].toInt(), padding = ctx->saved_data["padding"].toInt(),
                  dilation = ctx->saved_data["dilation"].toInt();
    const auto passed = at::threshold_backward(outputs[0], saved[2], 0);
    at::Tensor of_x;
    if (ctx->needs_input_grad(0)) {
      of_x = std::get<0>(at::convolution_backward(
          passed, saved[0], saved[1], c10::nullopt, {stride, stride}, {padding, padding}, {dilation, dilation},
          /*transposed=*/false, {0, 0}, /*groups=*/1, {true, false, false}));
    }
    const auto of_residual = ctx->saved_data["residual"].toBool() ? passed : at::Tensor();
    return {of_x, at::Tensor(), at::Tensor(), of_residual, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

} // namespace

// A null `residual` is none.
extern "C" int ulda_conv2d_relu(
    void* x, void* weight, void* bias, void* residual, int64_t stride, int64_t padding, int64_t dilation, void** y) {
  return ulda::guarded([&] {
    TORCH_CHECK(
        !ulda::tensor(weight).requires_grad() && !ulda::tensor(bias).requires_grad(),
        "the weight and the bias of a frozen convolution require no gradient");
    const auto added = residual == nullptr ? std::nullopt : std::optional<at::Tensor>(ulda::tensor(residual));
    *y = ulda::give(FusedConvolution::apply(
        ulda::tensor(x), ulda::tensor(weight), ulda::tensor(bias), added, stride, padding, dilation));
  });
}
