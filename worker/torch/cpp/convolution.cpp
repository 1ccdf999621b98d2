// Convolution whose weight gradient, on a CPU and for kernels of several taps, is a matrix product for each. oneDNN writes every
// image out as a matrix with a column for each tap first, unless the CPU has AVX-512; with a dilation it also
// multiplies what lies on the padding.
#include "entry.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <algorithm>
#include <torch/csrc/autograd/custom_function.h>

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// Along one axis: the outputs that a tap gives something to, which lie `shift` before the inputs it takes.
struct Reach {
  int64_t first, length;

  Reach(int64_t shift, int64_t inputs, int64_t outputs)
      : first(std::max<int64_t>(0, -shift)), length(std::min(outputs, inputs - shift) - first) {}
};

// [N, H, W, C], innermost last in memory.
at::Tensor channels_innermost(const at::Tensor& map) {
  return map.contiguous(at::MemoryFormat::ChannelsLast).permute({0, 2, 3, 1});
}

at::Tensor as_matrix(const at::Tensor& map) {
  return map.reshape({-1, map.size(3)});
}

at::Tensor window(const at::Tensor& map, int64_t top, int64_t rows, int64_t left, int64_t columns) {
  return as_matrix(map.narrow(1, top, rows).narrow(2, left, columns));
}

// [O, C, height, width] of a convolution of stride 1, from x [N, C, H, W] and dy [N, O, H', W'].
at::Tensor weight_gradient(
    const at::Tensor& input, const at::Tensor& gradient, int64_t height, int64_t width, int64_t padding, int64_t dilation) {
  const auto x = channels_innermost(input), dy = channels_innermost(gradient);
  const int64_t to_height = dy.size(1), to_width = dy.size(2);
  const auto whole = as_matrix(dy).t();
  at::Tensor padded;
  auto taps = at::empty({height, width, dy.size(3), x.size(3)}, x.options().memory_format(at::MemoryFormat::Contiguous));
  for (int64_t i = 0; i < height; i++) {
    for (int64_t j = 0; j < width; j++) {
      auto tap = taps[i][j];
      const int64_t down = i * dilation - padding, right = j * dilation - padding;
      const Reach rows(down, x.size(1), to_height), columns(right, x.size(2), to_width);
      if (rows.length <= 0 || columns.length <= 0) {
        tap.zero_();
      } else if (down == 0 && right == 0 && x.size(1) == to_height && x.size(2) == to_width) {
        at::mm_out(tap, whole, as_matrix(x));
      } else if (8 * rows.length * columns.length < 7 * to_height * to_width) {
        const auto of_dy = window(dy, rows.first, rows.length, columns.first, columns.length);
        const auto of_x = window(x, rows.first + down, rows.length, columns.first + right, columns.length);
        at::mm_out(tap, of_dy.t(), of_x);
      } else {
        // Zeros beside the input cost less than a copy of this part of dy.
        if (!padded.defined()) {
          padded = at::constant_pad_nd(x, {0, 0, padding, padding, padding, padding});
        }
        at::mm_out(tap, whole, window(padded, i * dilation, to_height, j * dilation, to_width));
      }
    }
  }
  return taps.permute({2, 3, 0, 1}).contiguous();
}

struct TapConvolution : torch::autograd::Function<TapConvolution> {
  static at::Tensor forward(
      AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, int64_t padding, int64_t dilation) {
    ctx->save_for_backward({x, weight});
    ctx->saved_data["padding"] = padding;
    ctx->saved_data["dilation"] = dilation;
    return at::conv2d(x, weight, {}, 1, padding, dilation);
  }

  static variable_list backward(AutogradContext* ctx, variable_list outputs) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &dy = outputs[0];
    const int64_t padding = ctx->saved_data["padding"].toInt(), dilation = ctx->saved_data["dilation"].toInt();
    at::Tensor of_x, of_weight;
    if (ctx->needs_input_grad(0)) {
      of_x = std::get<0>(at::convolution_backward(
          dy, x, weight, c10::nullopt, {1, 1}, {padding, padding}, {dilation, dilation}, /*transposed=*/false, {0, 0},
          /*groups=*/1, {true, false, false}));
    }
    if (ctx->needs_input_grad(1)) {
      of_weight = weight_gradient(x, dy, weight.size(2), weight.size(3), padding, dilation);
    }
    return {of_x, of_weight, at::Tensor(), at::Tensor()};
  }
};

} // namespace

extern "C" int ulda_conv2d(void* x, void* weight, int64_t padding, int64_t dilation, void** y) {
  return ulda::guarded([&] {
    const auto &input = ulda::tensor(x), &kernel = ulda::tensor(weight);
    const bool by_taps = input.is_cpu() && input.dim() == 4 && kernel.dim() == 4 && kernel.size(2) * kernel.size(3) > 1 && input.scalar_type() == at::kFloat && kernel.scalar_type() == at::kFloat &&
        kernel.requires_grad() && at::GradMode::is_enabled() && !at::autocast::is_autocast_enabled(at::kCPU);
    *y = ulda::give(
        by_taps ? TapConvolution::apply(input, kernel, padding, dilation)
                : at::conv2d(input, kernel, {}, 1, padding, dilation));
  });
}
