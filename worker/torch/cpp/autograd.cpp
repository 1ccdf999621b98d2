// Hooks after a gradient is accumulated, gradient slots, and dropout with its own generator.
#include "entry.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

typedef int (*HookCallback)(void* closure, int64_t index, char* error, size_t error_len);

namespace {

struct RustHook : torch::autograd::PostAccumulateGradHook {
  ulda::RustObject closure;
  HookCallback callback;
  int64_t index;

  RustHook(void* object, void (*release)(void*), HookCallback c, int64_t i)
      : closure(object, release), callback(c), index(i) {}

  void operator()(const torch::autograd::Variable&) override {
    ulda::CallbackError error;
    TORCH_CHECK(
        callback(closure.object, index, error.text, sizeof(error.text)) == 0,
        "gradient hook of parameter ", index, ": ", error.text);
  }
};

} // namespace

extern "C" {

const char* ulda_last_error() {
  return ulda::last_error().c_str();
}

int ulda_hook_set(void* parameter, void* closure, void (*release)(void*), HookCallback callback, int64_t index) {
  auto hook = std::make_unique<RustHook>(closure, release, callback, index);
  return ulda::guarded([&] {
    auto& p = ulda::tensor(parameter);
    TORCH_CHECK(p.is_leaf() && p.requires_grad(), "parameter ", index, " is no leaf that requires a gradient");
    torch::autograd::impl::set_post_acc_grad_hooks(p, std::move(hook));
  });
}

int ulda_hook_clear(void* parameter) {
  return ulda::guarded([&] { torch::autograd::impl::set_post_acc_grad_hooks(ulda::tensor(parameter), nullptr); });
}

// A null `gradient` empties the slot.
int ulda_set_grad(void* parameter, void* gradient) {
  return ulda::guarded([&] {
    auto& slot = ulda::tensor(parameter).mutable_grad();
    if (gradient == nullptr) {
      slot.reset();
    } else {
      slot = ulda::tensor(gradient);
    }
  });
}

// Inverted-dropout mask: 0 or 1 / (1 - p), drawn on the CPU so that it is the same on every device.
int ulda_dropout_mask(void* like, double p, uint64_t seed, void** mask) {
  return ulda::guarded([&] {
    TORCH_CHECK(p >= 0 && p < 1, "dropout probability ", p, " is not in [0, 1)");
    const auto& x = ulda::tensor(like);
    // From pinned memory the copy to a GPU is queued behind its work instead of waiting for it.
    auto host = at::TensorOptions().dtype(at::kFloat).device(at::kCPU).pinned_memory(x.is_cuda());
    auto drawn = at::empty(x.sizes(), host);
    drawn.bernoulli_(1.0 - p, at::detail::createCPUGenerator(seed)).div_(1.0 - p);
    *mask = ulda::give(drawn.to(x.device(), x.scalar_type(), /*non_blocking=*/true));
  });
}

} // extern "C"
