// Stochastic gradient descent in one pass over parameters, gradients and velocities.
#include "entry.h"

#include <ATen/core/grad_mode.h>
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

} // extern "C"
