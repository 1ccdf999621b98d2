// Every tensor of a TorchScript archive: parameters, buffers, and integer attributes as i64 scalars.
#include "entry.h"

#include <ATen/ops/scalar_tensor.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

// Takes ownership of the tensor; must not unwind.
typedef void (*Visit)(void* sink, const char* name, size_t name_len, void* tensor);

extern "C" int ulda_archive_read(const char* path, void* sink, Visit visit) {
  return ulda::guarded([&] {
    auto module = torch::jit::load(std::string(path), at::Device(at::kCPU));
    module.eval();
    auto tell = [&](const std::string& name, at::Tensor value) {
      visit(sink, name.data(), name.size(), ulda::give(std::move(value)));
    };
    for (const auto& parameter : module.named_parameters()) {
      tell(parameter.name, parameter.value.detach());
    }
    for (const auto& buffer : module.named_buffers()) {
      tell(buffer.name, buffer.value.detach());
    }
    for (const auto& attribute : module.named_attributes(false)) {
      if (attribute.value.isInt()) {
        tell(attribute.name, at::scalar_tensor(attribute.value.toInt(), at::kLong));
      }
    }
  });
}
