// Hooks after a gradient is accumulated, gradient slots, and dropout with its own generator.
#include "entry.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
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

// Of its own, so that the global ones are left alone; Philox on a GPU.
at::Generator generator(c10::Device device, uint64_t seed) {
  if (device.is_cpu()) {
    return at::detail::createCPUGenerator(seed);
  }
  auto made = at::globalContext().getAcceleratorHooksInterface(device.type()).getNewGenerator(device.index());
  made.set_current_seed(seed);
  return made;
}

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

// Inverted-dropout mask: 0 or 1 / (1 - p). `like` consists of `parts` equal parts, one after the other; each is drawn by a
// generator of its own seed.
int ulda_dropout_mask(void* like, double p, const uint64_t* seeds, size_t parts, void** mask) {
  return ulda::guarded([&] {
    TORCH_CHECK(p >= 0 && p < 1, "dropout probability ", p, " is not in [0, 1)");
    const auto& x = ulda::tensor(like);
    // On a GPU the mask lies as `like` does, and is drawn there; on a CPU its numbers do not depend on the layout.
    auto drawn = x.is_cuda() ? at::empty_like(x) : at::empty(x.sizes(), at::kFloat);
    const int64_t images = x.size(0) / static_cast<int64_t>(parts);
    for (size_t part = 0; part < parts; part++) {
      drawn.narrow(0, part * images, images).bernoulli_(1.0 - p, generator(x.device(), seeds[part]));
    }
    *mask = ulda::give(drawn.div_(1.0 - p).to(x.scalar_type()));
  });
}

} // extern "C"
