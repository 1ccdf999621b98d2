// The restyled feature of stages 1 and 2, and the gradient of a style. On a CPU each is one pass over the feature, where
// libtorch's operations take three and four. The product is rounded before the sum, as the published code does: without
// that, what the first ReLU left at 0 does not come back as 0.
#include "entry.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/threshold_backward.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <array>
#include <vector>

// Wide vectors where the CPU has them. AVX2 alone brings no fused multiply-add, and build.rs forbids it.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define VECTORISED __attribute__((target_clones("avx2", "default"), optimize("O3")))
#else
#define VECTORISED
#endif

namespace {

// Pixels whose gradients are summed in float32 before they are added in float64.
constexpr int64_t BLOCK = 64;
// Pixels of one task. Fixed, so that sums do not depend on the number of threads.
constexpr int64_t PIXELS = 16 * BLOCK;

bool on_cpu(const at::Tensor& map) {
  return map.is_cpu() && map.scalar_type() == at::kFloat;
}

// [N, C, H, W] with a pixel's channels side by side.
at::Tensor by_pixel(const at::Tensor& map) {
  return map.contiguous(at::MemoryFormat::ChannelsLast);
}

// Rows [D * B, C, H, W] as [D, B, C, H, W], to be combined with the B images of `normalised`.
at::Tensor by_domain(const at::Tensor& rows, const at::Tensor& normalised) {
  const int64_t images = std::max<int64_t>(normalised.size(0), 1);
  return rows.view({rows.size(0) / images, images, rows.size(1), rows.size(2), rows.size(3)});
}

void check(const at::Tensor& normalised, const at::Tensor& mean, const at::Tensor& std) {
  TORCH_CHECK(normalised.dim() == 4, "normalised feature has ", normalised.dim(), " dimensions, needs 4");
  const int64_t images = normalised.size(0), channels = normalised.size(1);
  for (const auto* style : {&mean, &std}) {
    TORCH_CHECK(
        style->dim() == 4 && style->size(1) == channels && style->numel() == style->size(0) * channels &&
            (images == 0 ? style->size(0) == 0 : style->size(0) % images == 0),
        "style ", style->sizes(), " does not fit a feature ", normalised.sizes());
  }
}

VECTORISED void restyle_pixels(
    const float* __restrict from,
    const float* __restrict mean,
    const float* __restrict std,
    float* __restrict to,
    int64_t pixels,
    int64_t channels) {
  for (int64_t p = 0; p < pixels; p++) {
    for (int64_t c = 0; c < channels; c++) {
      const float value = from[p * channels + c] * std[c] + mean[c];
      to[p * channels + c] = value < 0.0f ? 0.0f : value;
    }
  }
}

// Adds a block's sums of the gradient that passes the ReLU, and of that times `normalised`.
VECTORISED void add_gradients(
    const float* __restrict normalised,
    const float* __restrict styled,
    const float* __restrict gradient,
    float* __restrict of_mean,
    float* __restrict of_std,
    int64_t pixels,
    int64_t channels) {
  for (int64_t p = 0; p < pixels; p++) {
    const int64_t at = p * channels;
    for (int64_t c = 0; c < channels; c++) {
      const float passed = styled[at + c] <= 0.0f ? 0.0f : gradient[at + c];
      of_mean[c] += passed;
      of_std[c] += passed * normalised[at + c];
    }
  }
}

at::Tensor restyle(const at::Tensor& normalised, const at::Tensor& mean, const at::Tensor& std) {
  check(normalised, mean, std);
  const int64_t rows = mean.size(0), channels = normalised.size(1);
  const int64_t height = normalised.size(2), width = normalised.size(3), pixels = height * width;
  if (!on_cpu(normalised)) {
    return (normalised * by_domain(std, normalised)).add_(by_domain(mean, normalised)).clamp_min_(0).flatten(0, 1);
  }
  const auto x = by_pixel(normalised), means = mean.contiguous(), stds = std.contiguous();
  auto y = at::empty({rows, channels, height, width}, x.options(), at::MemoryFormat::ChannelsLast);
  const int64_t tasks = (pixels + PIXELS - 1) / PIXELS;
  at::parallel_for(0, rows * tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; task++) {
      const int64_t row = task / tasks, first = task % tasks * PIXELS;
      restyle_pixels(
          x.const_data_ptr<float>() + (row % x.size(0) * pixels + first) * channels,
          means.const_data_ptr<float>() + row * channels, stds.const_data_ptr<float>() + row * channels,
          y.data_ptr<float>() + (row * pixels + first) * channels, std::min(PIXELS, pixels - first), channels);
    }
  });
  return y;
}

// Gradients of mean and std, [N, C, 1, 1] each.
std::array<at::Tensor, 2> style_gradient(
    const at::Tensor& normalised, const at::Tensor& styled, const at::Tensor& gradient) {
  TORCH_CHECK(
      styled.dim() == 4 && styled.sizes() == gradient.sizes(), "gradient ", gradient.sizes(), " of a feature ",
      styled.sizes());
  check(normalised, styled.narrow(2, 0, 1).narrow(3, 0, 1), styled.narrow(2, 0, 1).narrow(3, 0, 1));
  const int64_t rows = styled.size(0), channels = styled.size(1), pixels = styled.size(2) * styled.size(3);
  if (!on_cpu(normalised)) {
    const auto passed = at::threshold_backward(gradient, styled, 0);
    const auto of_std = by_domain(passed, normalised) * normalised;
    return {passed.sum({2, 3}, true), of_std.sum({3, 4}, true).flatten(0, 1)};
  }
  const auto x = by_pixel(normalised), y = by_pixel(styled), dy = by_pixel(gradient);
  const int64_t tasks = (pixels + PIXELS - 1) / PIXELS;
  std::vector<double> sums(rows * tasks * 2 * channels, 0.0);
  at::parallel_for(0, rows * tasks, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> block(2 * channels);
    for (int64_t task = begin; task < end; task++) {
      const int64_t row = task / tasks, last = std::min(pixels, (task % tasks + 1) * PIXELS);
      double* sum = sums.data() + task * 2 * channels;
      for (int64_t first = task % tasks * PIXELS; first < last; first += BLOCK) {
        std::fill(block.begin(), block.end(), 0.0f);
        const int64_t at = (row * pixels + first) * channels;
        add_gradients(
            x.const_data_ptr<float>() + (row % x.size(0) * pixels + first) * channels, y.const_data_ptr<float>() + at,
            dy.const_data_ptr<float>() + at, block.data(), block.data() + channels, std::min(BLOCK, last - first),
            channels);
        for (int64_t c = 0; c < 2 * channels; c++) {
          sum[c] += block[c];
        }
      }
    }
  });
  std::array<at::Tensor, 2> found = {
      at::empty({rows, channels, 1, 1}, x.options()), at::empty({rows, channels, 1, 1}, x.options())};
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t c = 0; c < 2 * channels; c++) {
      double total = 0.0;
      for (int64_t task = row * tasks; task < (row + 1) * tasks; task++) {
        total += sums[task * 2 * channels + c];
      }
      found[c / channels].data_ptr<float>()[row * channels + c % channels] = static_cast<float>(total);
    }
  }
  return found;
}

} // namespace

extern "C" {

int ulda_restyle(void* normalised, void* mean, void* std, void** styled) {
  return ulda::guarded([&] {
    *styled = ulda::give(restyle(ulda::tensor(normalised), ulda::tensor(mean), ulda::tensor(std)));
  });
}

int ulda_style_gradient(void* normalised, void* styled, void* gradient, void** mean, void** std) {
  return ulda::guarded([&] {
    auto found = style_gradient(ulda::tensor(normalised), ulda::tensor(styled), ulda::tensor(gradient));
    *mean = ulda::give(std::move(found[0]));
    *std = ulda::give(std::move(found[1]));
  });
}

} // extern "C"
