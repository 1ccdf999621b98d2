// BatchNorm over the images of every shard, for layers that do not depend on each other: an autograd function whose
// forward and backward each hold one all-gather of the per-channel sums of all these layers, done by a Rust callback.
// One shard alone gathers nothing; on a GPU it is cuDNN's (batch_norm_cudnn.cpp). Several shards on GPUs use the kernels of
// PyTorch's SyncBatchNorm.
#include "batch_norm.h"
#include "entry.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/batch_norm_backward_elemt.h>
#include <ATen/ops/batch_norm_backward_reduce.h>
#include <ATen/ops/batch_norm_elemt.h>
#include <ATen/ops/batch_norm_update_stats.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/native_batch_norm_backward.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>
#include <algorithm>
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
  // Number of the first layer.
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

// To a GPU, f32, from pinned memory and without a wait.
at::Tensor to_gpu(const std::vector<double>& values, const at::Tensor& like) {
  auto host = at::empty({static_cast<int64_t>(values.size())}, at::TensorOptions(at::kFloat).pinned_memory(true));
  std::copy(values.begin(), values.end(), host.data_ptr<float>());
  return host.to(like.device(), /*non_blocking=*/true);
}

// [parts * C] in the shape that fits [N, C, H, W]: every image has the row of its part.
at::Tensor per_channel(const at::Tensor& values, int64_t parts, int64_t images) {
  auto rows = values.view({parts, -1, 1, 1});
  return parts == 1 ? rows : rows.repeat_interleave(images, 0);
}

// Values of each channel and part of this shard.
double count_of(const at::Tensor& x, int64_t parts) {
  return static_cast<double>(x.size(0) / parts * x.size(2) * x.size(3));
}

void check_count(double count, size_t layer) {
  TORCH_CHECK(
      count > 1,
      "batch norm layer ", layer, " has ", static_cast<int64_t>(count),
      " value(s) per channel over all shards, needs at least 2; hint: use a batch of 2 or more images");
}

// Mean and variance of each channel of each part, [parts * C], and of how many values.
struct Moments {
  at::Tensor mean, var;
  double count;
};

// Of this shard, f32. It has images.
Moments own_moments(const at::Tensor& x, int64_t parts) {
  std::vector<at::Tensor> means, vars;
  for (const auto& part : x.chunk(parts)) {
    auto [mean, var] = at::batch_norm_update_stats(part, {}, {}, 0.0);
    means.push_back(mean);
    vars.push_back(var);
  }
  return {at::cat(means), at::cat(vars), count_of(x, parts)};
}

// What `over_shards` gives for one shard, to the bit, without a wait for the device.
Moments of_one_shard(const Moments& own) {
  return {own.mean.to(at::kDouble), own.var.to(at::kDouble).mul_(own.count).div_(own.count), own.count};
}

// Message of a shard: the count of each layer, then of each layer the means of all channels and their squared
// deviation sums (M2). All zeros in a shard without images.
std::vector<double> message_of(at::TensorList xs, int64_t parts) {
  size_t length = xs.size();
  for (const auto& x : xs) {
    length += 2 * parts * x.size(1);
  }
  std::vector<double> message(length, 0.0);
  if (xs[0].size(0) == 0) {
    return message;
  }
  std::vector<at::Tensor> own;
  for (size_t l = 0; l < xs.size(); l++) {
    auto moments = own_moments(xs[l], parts);
    message[l] = moments.count;
    own.push_back(moments.mean);
    own.push_back(moments.var);
  }
  const auto values = to_host(at::cat(own));
  std::copy(values.begin(), values.end(), message.begin() + xs.size());
  size_t at = xs.size();
  for (size_t l = 0; l < xs.size(); l++) {
    const size_t channels = parts * xs[l].size(1);
    for (size_t c = 0; c < channels; c++) {
      message[at + channels + c] *= message[l];
    }
    at += 2 * channels;
  }
  return message;
}

// What normalises a layer, f32 [parts * C] each, and of how many values.
struct Normals {
  at::Tensor mean, var, invstd;
  double count;

  static Normals of(const Moments& moments, double eps) {
    auto invstd = moments.var.add(eps).sqrt_().reciprocal_().to(at::kFloat);
    return {moments.mean.to(at::kFloat), moments.var.to(at::kFloat), invstd, moments.count};
  }
};

// Of each layer over all shards, where x lies.
std::vector<Normals> over_shards(const Exchange& exchange, at::TensorList xs, int64_t parts, double eps) {
  const auto mine = message_of(xs, parts);
  const auto all = exchange.gather(false, mine);
  std::vector<double> combined(mine.size() - xs.size(), 0.0), counts(xs.size(), 0.0), invstds;
  size_t at = 0;
  for (size_t l = 0; l < xs.size(); l++) {
    const size_t channels = parts * xs[l].size(1);
    double* mean = combined.data() + at;
    double* m2 = mean + channels;
    double& total = counts[l];
    // Chan's pairwise combination, always in shard order.
    for (size_t s = 0; s < exchange.shards; s++) {
      const double* other = all.data() + s * mine.size();
      const double count = other[l];
      if (count == 0) {
        continue;
      }
      const double* means = other + xs.size() + at;
      const double sum = total + count;
      for (size_t c = 0; c < channels; c++) {
        const double gap = means[c] - mean[c];
        mean[c] += gap * (count / sum);
        m2[c] += means[channels + c] + gap * gap * (total * count / sum);
      }
      total = sum;
    }
    for (size_t c = 0; c < channels; c++) {
      m2[c] /= total;
      invstds.push_back(1.0 / std::sqrt(m2[c] + eps));
    }
    at += 2 * channels;
  }
  const bool on_gpu = xs[0].is_cuda();
  at::Tensor there;
  if (on_gpu) {
    // All that the GPU would compute of them in one copy.
    combined.insert(combined.end(), invstds.begin(), invstds.end());
    there = to_gpu(combined, xs[0]);
  } else {
    there = to_device(combined, xs[0]);
  }
  std::vector<Normals> normals;
  int64_t invstd = there.size(0) - static_cast<int64_t>(invstds.size());
  at = 0;
  for (size_t l = 0; l < xs.size(); l++) {
    const int64_t channels = parts * xs[l].size(1);
    const auto mean = there.narrow(0, at, channels), var = there.narrow(0, at + channels, channels);
    normals.push_back(
        on_gpu ? Normals{mean, var, there.narrow(0, invstd, channels), counts[l]}
               : Normals::of({mean, var, counts[l]}, eps));
    at += 2 * channels;
    invstd += channels;
  }
  return normals;
}

at::Tensor normalise(
    const at::Tensor& x,
    const at::Tensor& weight,
    const at::Tensor& bias,
    const Normals& by,
    double eps,
    int64_t parts) {
  if (x.size(0) == 0) {
    return at::empty_like(x);
  }
  std::vector<at::Tensor> normalised;
  const auto xs = x.chunk(parts), means = by.mean.chunk(parts), vars = by.var.chunk(parts),
             invstds = by.invstd.chunk(parts);
  for (int64_t p = 0; p < parts; p++) {
    normalised.push_back(
        x.is_cuda() ? at::batch_norm_elemt(xs[p], weight, bias, means[p], invstds[p], eps)
                    : std::get<0>(at::native_batch_norm(xs[p], weight, bias, means[p], vars[p], false, 0.0, eps)));
  }
  return parts == 1 ? normalised[0] : at::cat(normalised);
}

// What a layer's backward pass needs.
struct Saved {
  at::Tensor x, weight, mean, var, invstd;
  static constexpr size_t tensors = 5;

  static Saved of(const variable_list& all, size_t layer) {
    const auto* first = all.data() + layer * tensors;
    return {first[0], first[1], first[2], first[3], first[4]};
  }
};

// Sums of dy and dy * xhat of this shard, [parts * C] each.
struct Sums {
  at::Tensor dy, dy_xhat;
};

Sums own_sums(const Saved& layer, const at::Tensor& dy, double eps, int64_t parts) {
  if (layer.x.size(0) == 0) {
    return {at::zeros_like(layer.mean), at::zeros_like(layer.mean)};
  }
  // The evaluation form of the kernel sums dy and dy * xhat without touching the statistics.
  std::vector<at::Tensor> of_dy, of_dy_xhat;
  const auto dys = dy.chunk(parts), xs = layer.x.chunk(parts);
  const auto means = layer.mean.chunk(parts), vars = layer.var.chunk(parts), invstds = layer.invstd.chunk(parts);
  for (int64_t p = 0; p < parts; p++) {
    if (layer.x.is_cuda()) {
      auto sums = at::batch_norm_backward_reduce(dys[p], xs[p], means[p], invstds[p], layer.weight, true, true, true);
      of_dy_xhat.push_back(std::get<2>(sums));
      of_dy.push_back(std::get<0>(sums));
      continue;
    }
    auto sums = at::native_batch_norm_backward(
        dys[p], xs[p], layer.weight, means[p], vars[p], means[p], invstds[p], false, eps, {false, true, true});
    of_dy_xhat.push_back(std::get<1>(sums));
    of_dy.push_back(std::get<2>(sums));
  }
  return {at::cat(of_dy), at::cat(of_dy_xhat)};
}

// The sums of each layer over all shards, divided by the layer's count, f32.
std::vector<Sums> means_over_shards(
    const Exchange& exchange, const std::vector<Sums>& own, const std::vector<double>& counts) {
  std::vector<Sums> means;
  if (exchange.shards == 1) {
    for (size_t l = 0; l < own.size(); l++) {
      auto mean = [&](const at::Tensor& sums) { return sums.to(at::kDouble).div_(counts[l]).to(at::kFloat); };
      means.push_back({mean(own[l].dy), mean(own[l].dy_xhat)});
    }
    return means;
  }
  std::vector<at::Tensor> told;
  for (const auto& sums : own) {
    told.push_back(sums.dy);
    told.push_back(sums.dy_xhat);
  }
  const auto mine = to_host(at::cat(told));
  const auto all = exchange.gather(true, mine);
  std::vector<double> combined(mine.size(), 0.0);
  for (size_t s = 0; s < exchange.shards; s++) {
    const double* other = all.data() + s * mine.size();
    size_t at = 0;
    for (size_t l = 0; l < own.size(); l++) {
      for (const size_t end = at + 2 * own[l].dy.numel(); at < end; at++) {
        combined[at] += other[at] / counts[l];
      }
    }
  }
  const bool on_gpu = own[0].dy.is_cuda();
  const auto there = on_gpu ? to_gpu(combined, own[0].dy) : to_device(combined, own[0].dy).to(at::kFloat);
  int64_t at = 0;
  for (const auto& sums : own) {
    const int64_t channels = sums.dy.numel();
    means.push_back({there.narrow(0, at, channels), there.narrow(0, at + channels, channels)});
    at += 2 * channels;
  }
  return means;
}

// weight * invstd * (dy - mean(dy) - xhat * mean(dy * xhat))
at::Tensor gradient_of_input(const Saved& layer, const at::Tensor& dy, const Sums& mean, int64_t parts) {
  const int64_t images = layer.x.size(0) / parts;
  if (layer.x.is_cuda() && images > 0) {
    // The kernel takes sums, of dy and of dy * (x - mean), and their count: these are of one value.
    const auto one = at::ones({1}, layer.mean.options().dtype(at::kInt));
    const auto dys = dy.chunk(parts), xs = layer.x.chunk(parts), means = layer.mean.chunk(parts),
               invstds = layer.invstd.chunk(parts), of_dy = mean.dy.chunk(parts),
               of_dy_xmu = (mean.dy_xhat / layer.invstd).chunk(parts);
    std::vector<at::Tensor> found;
    for (int64_t p = 0; p < parts; p++) {
      found.push_back(at::batch_norm_backward_elemt(
          dys[p], xs[p], means[p], invstds[p], layer.weight.detach(), of_dy[p], of_dy_xmu[p], one));
    }
    return parts == 1 ? found[0] : at::cat(found);
  }
  auto scale = (layer.weight.detach() * layer.invstd.view({parts, -1})).view(-1);
  auto spread = [&](const at::Tensor& values) { return per_channel(values, parts, images); };
  return (layer.x - spread(layer.mean))
      .mul_(spread(-scale * layer.invstd * mean.dy_xhat))
      .sub_(spread(scale * mean.dy))
      .addcmul_(dy, spread(scale));
}

// BatchNorm of several layers, each on a batch whose `parts` equal parts, one after the other, have statistics of
// their own.
struct SyncBatchNorms : torch::autograd::Function<SyncBatchNorms> {
  // Gives every layer's y, then every layer's mean and variance in turn, then the counts.
  static variable_list forward(
      AutogradContext* ctx,
      at::TensorList xs,
      at::TensorList weights,
      at::TensorList biases,
      double eps,
      int64_t parts,
      const c10::intrusive_ptr<Exchange>& exchange) {
    std::vector<Normals> normals;
    if (exchange->shards == 1 && xs[0].size(0) > 0) {
      for (const auto& x : xs) {
        normals.push_back(Normals::of(of_one_shard(own_moments(x, parts)), eps));
      }
    } else {
      normals = over_shards(*exchange, xs, parts, eps);
    }
    variable_list out, stats, saved;
    std::vector<double> counts;
    for (size_t l = 0; l < xs.size(); l++) {
      const auto& by = normals[l];
      check_count(by.count, exchange->layer + l);
      out.push_back(normalise(xs[l], weights[l], biases[l], by, eps, parts));
      stats.push_back(by.mean);
      stats.push_back(by.var);
      counts.push_back(by.count);
      saved.insert(saved.end(), {xs[l], weights[l], by.mean, by.var, by.invstd});
    }
    ctx->save_for_backward(saved);
    ctx->saved_data["exchange"] = c10::IValue::make_capsule(exchange);
    ctx->saved_data["parts"] = parts;
    ctx->saved_data["counts"] = counts;
    ctx->saved_data["eps"] = eps;
    stats.push_back(at::tensor(counts, at::kDouble));
    ctx->mark_non_differentiable(stats);
    // Else the statistics would each have a gradient of zeros, made in a launch.
    ctx->set_materialize_grads(false);
    out.insert(out.end(), stats.begin(), stats.end());
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list outputs) {
    const auto all = ctx->get_saved_variables();
    const size_t layers = all.size() / Saved::tensors;
    auto exchange = c10::static_intrusive_pointer_cast<Exchange>(ctx->saved_data["exchange"].toCapsule());
    const int64_t parts = ctx->saved_data["parts"].toInt();
    const auto counts = ctx->saved_data["counts"].toDoubleVector();
    const double eps = ctx->saved_data["eps"].toDouble();
    std::vector<Saved> saved;
    std::vector<at::Tensor> dys;
    std::vector<Sums> own;
    for (size_t l = 0; l < layers; l++) {
      saved.push_back(Saved::of(all, l));
      const auto& x = saved[l].x;
      const bool given = x.size(0) > 0 && outputs[l].defined();
      dys.push_back(given ? outputs[l].contiguous(x.suggest_memory_format()) : at::zeros_like(x));
      own.push_back(own_sums(saved[l], dys[l], eps, parts));
    }
    const auto means = means_over_shards(*exchange, own, counts);

    variable_list of_x, of_weight, of_bias;
    auto over_parts = [&](const at::Tensor& sums) { return parts == 1 ? sums : sums.view({parts, -1}).sum(0); };
    for (size_t l = 0; l < layers; l++) {
      const bool wanted = ctx->needs_input_grad(l);
      of_x.push_back(wanted ? gradient_of_input(saved[l], dys[l], means[l], parts) : at::Tensor());
      of_weight.push_back(over_parts(own[l].dy_xhat));
      of_bias.push_back(over_parts(own[l].dy));
    }
    variable_list gradients = std::move(of_x);
    gradients.insert(gradients.end(), of_weight.begin(), of_weight.end());
    gradients.insert(gradients.end(), of_bias.begin(), of_bias.end());
    // Neither eps nor parts nor the exchange has one.
    gradients.resize(gradients.size() + 3);
    return gradients;
  }
};

} // namespace

// `count` layers, of which `layer` numbers the first; as many places in `ys`, `means`, `vars` and `counts`. Means and
// variances are [parts, C].
extern "C" int ulda_sync_batch_norms(
    void* const* xs,
    void* const* weights,
    void* const* biases,
    size_t count,
    double eps,
    void* sync,
    void (*release)(void*),
    GatherCallback callback,
    size_t shards,
    uint32_t layer,
    size_t parts,
    void** ys,
    void** means,
    void** vars,
    double* counts) {
  // Made first, so that `sync` is released whatever fails.
  auto exchange = c10::make_intrusive<Exchange>(sync, release, callback, shards, layer);
  return ulda::guarded([&] {
    const auto x = ulda::tensors(xs, count), weight = ulda::tensors(weights, count),
               bias = ulda::tensors(biases, count);
    TORCH_CHECK(count > 0, "no batch norm layer was given");
    for (size_t l = 0; l < count; l++) {
      TORCH_CHECK(
          x[l].dim() == 4 && x[l].scalar_type() == at::kFloat,
          "batch norm layer ", layer + l, " takes f32 [N, C, H, W], not ", x[l].scalar_type(), " ", x[l].sizes());
      TORCH_CHECK(
          weight[l].sizes() == at::IntArrayRef({x[l].size(1)}) && bias[l].sizes() == at::IntArrayRef({x[l].size(1)}),
          "batch norm layer ", layer + l, " has weight ", weight[l].sizes(), " and bias ", bias[l].sizes(), " for ",
          x[l].size(1), " channels");
      TORCH_CHECK(
          x[l].size(0) == x[0].size(0),
          "batch norm layer ", layer + l, " has ", x[l].size(0), " image(s), layer ", layer, " has ", x[0].size(0));
    }
    TORCH_CHECK(
        parts > 0 && x[0].size(0) % parts == 0,
        "batch norm layer ", layer, " cannot cut ", x[0].size(0), " image(s) into ", parts, " equal parts");
    const auto cuts = static_cast<int64_t>(parts);
    const bool by_cudnn = shards == 1 && x[0].is_cuda() && x[0].size(0) > 0;
    std::vector<at::Tensor> out;
    if (by_cudnn) {
      for (size_t l = 0; l < count; l++) {
        counts[l] = count_of(x[l], cuts);
        check_count(counts[l], layer + l);
      }
      out = ulda::cudnn_batch_norms(x, weight, bias, eps, cuts);
    } else {
      out = SyncBatchNorms::apply(
          at::TensorList(x), at::TensorList(weight), at::TensorList(bias), eps, cuts, exchange);
      const double* found = out.back().const_data_ptr<double>();
      std::copy(found, found + count, counts);
    }
    for (size_t l = 0; l < count; l++) {
      ys[l] = ulda::give(out[l]);
      means[l] = ulda::give(out[count + 2 * l].detach().view({cuts, -1}));
      vars[l] = ulda::give(out[count + 2 * l + 1].detach().view({cuts, -1}));
    }
  });
}
