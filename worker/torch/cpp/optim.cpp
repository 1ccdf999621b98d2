// What an optimiser step does beside the passes, in few launches on a GPU: stochastic gradient descent in one pass over
// parameters, gradients and velocities, gradients gathered in a buffer, running statistics moved.
#include "entry.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_fused_sgd.h>
#include <vector>

extern "C" {

// Each list has `count` tensors.
int ulda_fused_sgd(
    void* const* parameters,
    void* const* gradients,
    void* const* velocities,
    size_t count,
    double lr,
    double momentum,
    double weight_decay) {
  return ulda::guarded([&] {
    std::vector<at::Tensor> p, g, v;
    for (size_t i = 0; i < count; ++i) {
      p.push_back(ulda::tensor(parameters[i]));
      g.push_back(ulda::tensor(gradients[i]));
      v.push_back(ulda::tensor(velocities[i]));
      TORCH_CHECK(
          p[i].is_contiguous() && g[i].is_contiguous() && v[i].is_contiguous() &&
              p[i].sizes() == g[i].sizes() && p[i].sizes() == v[i].sizes(),
          "parameter ", i, " ", p[i].sizes(), ", its gradient ", g[i].sizes(), " and its velocity ", v[i].sizes(),
          " are not contiguous tensors of one shape");
      for (const auto* tensor : {&p[i], &g[i], &v[i]}) {
        TORCH_CHECK(
            tensor->scalar_type() == p[0].scalar_type() && tensor->device() == p[0].device(),
            "entry ", i, " has a ", tensor->scalar_type(), " on ", tensor->device(), " beside the first parameter, a ",
            p[0].scalar_type(), " on ", p[0].device());
      }
    }
    at::NoGradGuard no_grad;
    // Never the first step: a velocity of zeros gives what that would.
    at::_fused_sgd_(
        p, g, v, weight_decay, momentum, lr, /*dampening=*/0, /*nesterov=*/false, /*maximize=*/false,
        /*is_first_step=*/false);
  });
}

// Copies the gradient of each of `count` parameters to its place, zeros where it has none.
int ulda_gather_gradients(void* const* parameters, void* const* places, size_t count) {
  return ulda::guarded([&] {
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> to, from;
    for (size_t i = 0; i < count; i++) {
      auto place = ulda::tensor(places[i]);
      const auto& gradient = ulda::tensor(parameters[i]).grad();
      if (!gradient.defined()) {
        place.zero_();
        continue;
      }
      TORCH_CHECK(
          gradient.sizes() == place.sizes(), "gradient ", i, " is ", gradient.sizes(), ", its place ", place.sizes());
      to.push_back(place);
      from.push_back(gradient);
    }
    if (!to.empty()) {
      at::_foreach_copy_(to, from);
    }
  });
}

// In place: running = running * (1 - momentum) + found * factor * momentum, for each of `count`, and each of `steps`
// counters plus 1.
int ulda_move_running(
    void* const* running,
    void* const* found,
    const double* factors,
    size_t count,
    void* const* counters,
    size_t steps,
    double momentum) {
  return ulda::guarded([&] {
    at::NoGradGuard no_grad;
    const auto kept = ulda::tensors(running, count), counted = ulda::tensors(counters, steps);
    auto moved = at::_foreach_mul(ulda::tensors(found, count), std::vector<at::Scalar>(factors, factors + count));
    at::_foreach_mul_(moved, momentum);
    at::_foreach_mul_(kept, 1.0 - momentum);
    at::_foreach_add_(kept, moved);
    at::_foreach_add_(counted, at::Scalar(1));
  });
}

} // extern "C"
