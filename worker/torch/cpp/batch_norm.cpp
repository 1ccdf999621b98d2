// BatchNorm over the images of every shard: an autograd function whose forward and backward each hold
// one all-gather of per-channel sums, done by a Rust callback.
#include "entry.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/batch_norm_update_stats.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/native_batch_norm_backward.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>
#include <cmath>
#include <vector>

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Fills `all` with shards * len numbers: every shard's vector, in shard order.
typedef int (*GatherCallback)(
    void* sync, uint32_t layer, int backward, const double* mine, size_t len, double* all, char* error, size_t error_len);

namespace {

struct Exchange : torch::CustomClassHolder {
  ulda::RustObject sync;
  GatherCallback callback;
  size_t shards;
  uint32_t layer;

  Exchange(void* object, void (*release)(void*), GatherCallback c, size_t s, uint32_t l)
      : sync(object, release), callback(c), shards(s), layer(l) {}

  std::vector<double> gather(bool backward, const std::vector<double>& mine) const {
    std::vector<double> all(mine.size() * shards);
    ulda::CallbackError error;
    int status =
        callback(sync.object, layer, backward, mine.data(), mine.size(), all.data(), error.text, sizeof(error.text));
    TORCH_CHECK(
        status == 0,
        "batch norm layer ", layer, ", ", backward ? "backward" : "forward", " exchange among ", shards,
        " shards: ", error.text);
    return all;
  }
};

std::vector<double> to_host(const at::Tensor& channel_values) {
  auto host = channel_values.detach().to(at::kCPU, at::kDouble).contiguous();
  const double* first = host.const_data_ptr<double>();
  return std::vector<double>(first, first + host.numel());
}

at::Tensor to_device(const std::vector<double>& channel_values, const at::Tensor& like) {
  return at::tensor(channel_values, at::kDouble).to(like.device(), at::kFloat);
}

at::Tensor per_channel(const at::Tensor& values) {
  return values.view({1, -1, 1, 1});
}

struct SyncBatchNorm : torch::autograd::Function<SyncBatchNorm> {
  static variable_list forward(
      AutogradContext* ctx,
      const at::Tensor& x,
      const at::Tensor& weight,
      const at::Tensor& bias,
      double eps,
      const c10::intrusive_ptr<Exchange>& exchange) {
    const int64_t channels = x.size(1);
    const int64_t local = x.size(0) * x.size(2) * x.size(3);

    // Message: count, then mean and squared deviation sum (M2) of each channel.
    std::vector<double> mine(1 + 2 * channels, 0.0);
    if (local > 0) {
      auto [mean, var] = at::batch_norm_update_stats(x, {}, {}, 0.0);
      auto mean_host = to_host(mean), var_host = to_host(var);
      mine[0] = static_cast<double>(local);
      for (int64_t c = 0; c < channels; c++) {
        mine[1 + c] = mean_host[c];
        mine[1 + channels + c] = var_host[c] * static_cast<double>(local);
      }
    }
    auto all = exchange->gather(false, mine);

    // Chan's pairwise combination, always in shard order.
    double total = 0;
    std::vector<double> mean(channels, 0.0), m2(channels, 0.0);
    for (size_t s = 0; s < exchange->shards; s++) {
      const double* other = all.data() + s * mine.size();
      const double count = other[0];
      if (count == 0) {
        continue;
      }
      const double sum = total + count;
      for (int64_t c = 0; c < channels; c++) {
        const double gap = other[1 + c] - mean[c];
        mean[c] += gap * (count / sum);
        m2[c] += other[1 + channels + c] + gap * gap * (total * count / sum);
      }
      total = sum;
    }
    TORCH_CHECK(
        total > 1,
        "batch norm layer ", exchange->layer, " has ", static_cast<int64_t>(total),
        " value(s) per channel over all shards, needs at least 2; hint: use a batch of 2 or more images");

    std::vector<double> var(channels), invstd(channels);
    for (int64_t c = 0; c < channels; c++) {
      var[c] = m2[c] / total;
      invstd[c] = 1.0 / std::sqrt(var[c] + eps);
    }
    auto mean_t = to_device(mean, x), var_t = to_device(var, x), invstd_t = to_device(invstd, x);
    auto y = local > 0 ? std::get<0>(at::native_batch_norm(x, weight, bias, mean_t, var_t, false, 0.0, eps))
                       : at::empty_like(x);

    ctx->save_for_backward({x, weight, mean_t, var_t, invstd_t});
    ctx->saved_data["exchange"] = c10::IValue::make_capsule(exchange);
    ctx->saved_data["count"] = total;
    ctx->saved_data["eps"] = eps;
    ctx->mark_non_differentiable({mean_t, var_t});
    return {y, mean_t, var_t, at::tensor({total}, at::kDouble)};
  }

  static variable_list backward(AutogradContext* ctx, variable_list outputs) {
    auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &mean = saved[2], &var = saved[3], &invstd = saved[4];
    auto exchange = c10::static_intrusive_pointer_cast<Exchange>(ctx->saved_data["exchange"].toCapsule());
    const double count = ctx->saved_data["count"].toDouble();
    const double eps = ctx->saved_data["eps"].toDouble();
    const int64_t channels = x.size(1);
    const bool local = x.size(0) > 0;
    const at::Tensor dy = local && outputs[0].defined() ? outputs[0].contiguous(x.suggest_memory_format()) : at::zeros_like(x);

    // The evaluation form of the kernel sums dy and dy * xhat without touching the statistics.
    at::Tensor sum_dy_xhat, sum_dy;
    if (local) {
      std::tie(std::ignore, sum_dy_xhat, sum_dy) = at::native_batch_norm_backward(
          dy, x, weight, mean, var, mean, invstd, false, eps, {false, true, true});
    } else {
      sum_dy_xhat = at::zeros_like(weight);
      sum_dy = at::zeros_like(weight);
    }
    auto mine = to_host(sum_dy);
    auto second = to_host(sum_dy_xhat);
    mine.insert(mine.end(), second.begin(), second.end());
    auto all = exchange->gather(true, mine);
    std::vector<double> mean_dy(channels, 0.0), mean_dy_xhat(channels, 0.0);
    for (size_t s = 0; s < exchange->shards; s++) {
      const double* other = all.data() + s * mine.size();
      for (int64_t c = 0; c < channels; c++) {
        mean_dy[c] += other[c] / count;
        mean_dy_xhat[c] += other[channels + c] / count;
      }
    }

    at::Tensor grad_x;
    if (ctx->needs_input_grad(0)) {
      // weight * invstd * (dy - mean(dy) - xhat * mean(dy * xhat))
      auto scale = weight.detach() * invstd;
      grad_x = (x - per_channel(mean))
                   .mul_(per_channel(-scale * invstd * to_device(mean_dy_xhat, x)))
                   .sub_(per_channel(scale * to_device(mean_dy, x)))
                   .addcmul_(dy, per_channel(scale));
    }
    return {grad_x, sum_dy_xhat, sum_dy, at::Tensor(), at::Tensor()};
  }
};

} // namespace

extern "C" int ulda_sync_batch_norm(
    void* x,
    void* weight,
    void* bias,
    double eps,
    void* sync,
    void (*release)(void*),
    GatherCallback callback,
    size_t shards,
    uint32_t layer,
    void** y,
    void** mean,
    void** var,
    double* count) {
  // Made first, so that `sync` is released whatever fails.
  auto exchange = c10::make_intrusive<Exchange>(sync, release, callback, shards, layer);
  return ulda::guarded([&] {
    const auto& input = ulda::tensor(x);
    TORCH_CHECK(
        input.dim() == 4 && input.scalar_type() == at::kFloat,
        "batch norm layer ", layer, " takes f32 [N, C, H, W], not ", input.scalar_type(), " ", input.sizes());
    TORCH_CHECK(
        ulda::tensor(weight).sizes() == at::IntArrayRef({input.size(1)}) &&
            ulda::tensor(bias).sizes() == at::IntArrayRef({input.size(1)}),
        "batch norm layer ", layer, " has weight ", ulda::tensor(weight).sizes(), " and bias ",
        ulda::tensor(bias).sizes(), " for ", input.size(1), " channels");
    auto out = SyncBatchNorm::apply(input, ulda::tensor(weight), ulda::tensor(bias), eps, exchange);
    *count = out[3].item<double>();
    *y = ulda::give(out[0]);
    *mean = ulda::give(out[1].detach());
    *var = ulda::give(out[2].detach());
  });
}
