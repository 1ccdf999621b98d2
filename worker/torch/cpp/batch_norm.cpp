// BatchNorm over the images of every shard: an autograd function whose forward and backward each hold
// one all-gather of per-channel sums, done by a Rust callback. One shard alone gathers nothing, and its sums stay on
// the device.
#include "entry.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/batch_norm_update_stats.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/native_batch_norm_backward.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>
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
  return at::tensor(channel_values, at::kDouble).to(like.device());
}

// [parts * C] in the shape that fits [N, C, H, W]: every image has the row of its part.
at::Tensor per_channel(const at::Tensor& values, int64_t parts, int64_t images) {
  auto rows = values.view({parts, -1, 1, 1});
  return parts == 1 ? rows : rows.repeat_interleave(images, 0);
}

// Mean and variance of each channel of each part over all shards, [parts * C] f64 where x lies, and of how many values.
struct Moments {
  at::Tensor mean, var;
  double count;
};

// What `combine` gives for one shard, to the bit, without a wait for the device.
Moments of_one_shard(const at::Tensor& mean, const at::Tensor& var, double local) {
  return {mean.to(at::kDouble), var.to(at::kDouble).mul_(local).div_(local), local};
}

// `mean` and `var` are undefined in a shard without images.
Moments combine(
    const Exchange& exchange, const at::Tensor& mean, const at::Tensor& var, double local, int64_t channels, const at::Tensor& x) {
  // Message: count, then mean and squared deviation sum (M2) of each channel.
  std::vector<double> mine(1 + 2 * channels, 0.0);
  if (local > 0) {
    auto mean_host = to_host(mean), var_host = to_host(var);
    mine[0] = local;
    for (int64_t c = 0; c < channels; c++) {
      mine[1 + c] = mean_host[c];
      mine[1 + channels + c] = var_host[c] * local;
    }
  }
  auto all = exchange.gather(false, mine);

  // Chan's pairwise combination, always in shard order.
  double total = 0;
  std::vector<double> combined(channels, 0.0), m2(channels, 0.0);
  for (size_t s = 0; s < exchange.shards; s++) {
    const double* other = all.data() + s * mine.size();
    const double count = other[0];
    if (count == 0) {
      continue;
    }
    const double sum = total + count;
    for (int64_t c = 0; c < channels; c++) {
      const double gap = other[1 + c] - combined[c];
      combined[c] += gap * (count / sum);
      m2[c] += other[1 + channels + c] + gap * gap * (total * count / sum);
    }
    total = sum;
  }
  for (auto& value : m2) {
    value /= total;
  }
  return {to_device(combined, x), to_device(m2, x), total};
}

// Of the sums of a backward pass: over all shards, divided by the count, [parts * C] f32.
at::Tensor mean_over_shards(const at::Tensor& sums, double count) {
  return sums.to(at::kDouble).div_(count).to(at::kFloat);
}

// BatchNorm of a batch whose `parts` equal parts, one after the other, have statistics of their own each.
struct SyncBatchNorm : torch::autograd::Function<SyncBatchNorm> {
  static variable_list forward(
      AutogradContext* ctx,
      const at::Tensor& x,
      const at::Tensor& weight,
      const at::Tensor& bias,
      double eps,
      int64_t parts,
      const c10::intrusive_ptr<Exchange>& exchange) {
    const double local = static_cast<double>(x.size(0) / parts * x.size(2) * x.size(3));
    at::Tensor own_mean, own_var;
    if (local > 0) {
      std::vector<at::Tensor> means, vars;
      for (const auto& part : x.chunk(parts)) {
        auto [mean, var] = at::batch_norm_update_stats(part, {}, {}, 0.0);
        means.push_back(mean);
        vars.push_back(var);
      }
      own_mean = at::cat(means);
      own_var = at::cat(vars);
    }
    const bool alone = exchange->shards == 1 && local > 0;
    const auto [mean, var, count] =
        alone ? of_one_shard(own_mean, own_var, local) : combine(*exchange, own_mean, own_var, local, parts * x.size(1), x);
    TORCH_CHECK(
        count > 1,
        "batch norm layer ", exchange->layer, " has ", static_cast<int64_t>(count),
        " value(s) per channel over all shards, needs at least 2; hint: use a batch of 2 or more images");

    auto invstd = var.add(eps).sqrt_().reciprocal_().to(at::kFloat);
    auto mean_t = mean.to(at::kFloat), var_t = var.to(at::kFloat);
    at::Tensor y;
    if (local > 0) {
      std::vector<at::Tensor> normalised;
      const auto xs = x.chunk(parts), means = mean_t.chunk(parts), vars = var_t.chunk(parts);
      for (int64_t p = 0; p < parts; p++) {
        normalised.push_back(
            std::get<0>(at::native_batch_norm(xs[p], weight, bias, means[p], vars[p], false, 0.0, eps)));
      }
      y = parts == 1 ? normalised[0] : at::cat(normalised);
    } else {
      y = at::empty_like(x);
    }

    ctx->save_for_backward({x, weight, mean_t, var_t, invstd});
    ctx->saved_data["exchange"] = c10::IValue::make_capsule(exchange);
    ctx->saved_data["parts"] = parts;
    ctx->saved_data["count"] = count;
    ctx->saved_data["eps"] = eps;
    ctx->mark_non_differentiable({mean_t, var_t});
    return {y, mean_t, var_t, at::tensor({count}, at::kDouble)};
  }

  static variable_list backward(AutogradContext* ctx, variable_list outputs) {
    auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &mean = saved[2], &var = saved[3], &invstd = saved[4];
    auto exchange = c10::static_intrusive_pointer_cast<Exchange>(ctx->saved_data["exchange"].toCapsule());
    const int64_t parts = ctx->saved_data["parts"].toInt();
    const double count = ctx->saved_data["count"].toDouble();
    const double eps = ctx->saved_data["eps"].toDouble();
    const bool local = x.size(0) > 0;
    const at::Tensor dy = local && outputs[0].defined() ? outputs[0].contiguous(x.suggest_memory_format()) : at::zeros_like(x);

    // The evaluation form of the kernel sums dy and dy * xhat without touching the statistics.
    at::Tensor sum_dy_xhat, sum_dy;
    if (local) {
      std::vector<at::Tensor> of_dy_xhat, of_dy;
      const auto dys = dy.chunk(parts), xs = x.chunk(parts);
      const auto means = mean.chunk(parts), vars = var.chunk(parts), invstds = invstd.chunk(parts);
      for (int64_t p = 0; p < parts; p++) {
        auto sums = at::native_batch_norm_backward(
            dys[p], xs[p], weight, means[p], vars[p], means[p], invstds[p], false, eps, {false, true, true});
        of_dy_xhat.push_back(std::get<1>(sums));
        of_dy.push_back(std::get<2>(sums));
      }
      sum_dy_xhat = at::cat(of_dy_xhat);
      sum_dy = at::cat(of_dy);
    } else {
      sum_dy_xhat = at::zeros_like(mean);
      sum_dy = at::zeros_like(mean);
    }
    at::Tensor mean_dy, mean_dy_xhat;
    if (exchange->shards == 1) {
      mean_dy = mean_over_shards(sum_dy, count);
      mean_dy_xhat = mean_over_shards(sum_dy_xhat, count);
    } else {
      std::tie(mean_dy, mean_dy_xhat) = gathered_means(*exchange, sum_dy, sum_dy_xhat, count);
    }

    const int64_t images = x.size(0) / parts;
    at::Tensor grad_x;
    if (ctx->needs_input_grad(0)) {
      // weight * invstd * (dy - mean(dy) - xhat * mean(dy * xhat))
      auto scale = (weight.detach() * invstd.view({parts, -1})).view(-1);
      auto spread = [&](const at::Tensor& values) { return per_channel(values, parts, images); };
      grad_x = (x - spread(mean))
                   .mul_(spread(-scale * invstd * mean_dy_xhat))
                   .sub_(spread(scale * mean_dy))
                   .addcmul_(dy, spread(scale));
    }
    auto of_weight = [&](const at::Tensor& sums) { return parts == 1 ? sums : sums.view({parts, -1}).sum(0); };
    return {grad_x, of_weight(sum_dy_xhat), of_weight(sum_dy), at::Tensor(), at::Tensor(), at::Tensor()};
  }

  static std::tuple<at::Tensor, at::Tensor> gathered_means(
      const Exchange& exchange, const at::Tensor& sum_dy, const at::Tensor& sum_dy_xhat, double count) {
    auto mine = to_host(at::cat({sum_dy, sum_dy_xhat}));
    auto all = exchange.gather(true, mine);
    std::vector<double> means(mine.size(), 0.0);
    for (size_t s = 0; s < exchange.shards; s++) {
      const double* other = all.data() + s * mine.size();
      for (size_t c = 0; c < mine.size(); c++) {
        means[c] += other[c] / count;
      }
    }
    auto halves = to_device(means, sum_dy).to(at::kFloat).chunk(2);
    return {halves[0], halves[1]};
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
    size_t parts,
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
    TORCH_CHECK(
        parts > 0 && input.size(0) % parts == 0,
        "batch norm layer ", layer, " cannot cut ", input.size(0), " image(s) into ", parts, " equal parts");
    auto out = SyncBatchNorm::apply(
        input, ulda::tensor(weight), ulda::tensor(bias), eps, static_cast<int64_t>(parts), exchange);
    *count = out[3].item<double>();
    *y = ulda::give(out[0]);
    *mean = ulda::give(out[1].detach());
    *var = ulda::give(out[2].detach());
  });
}
