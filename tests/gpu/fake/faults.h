// Faults that FAKE_CUDA_FAULT orders: `malloc:N`, out of memory from the N-th allocation on; `launch:N`, an illegal
// address at the N-th launch, after which every call of the process fails, as on a real GPU; `fusion`, a cuDNN without fused
// operations; `events:N`, each event is found not to have passed N times before it is.
#pragma once

#include <cuda_runtime_api.h>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>

namespace fake {

class Faults {
 public:
  static Faults& get() {
    static auto* faults = new Faults;
    return *faults;
  }

  bool malloc_fails() {
    return malloc_at_ > 0 && ++mallocs_ >= malloc_at_;
  }

  void launch() {
    if (launch_at_ > 0 && ++launches_ == launch_at_) {
      sticky_ = cudaErrorIllegalAddress;
    }
  }

  long event_polls() const {
    return event_polls_;
  }

  bool refuses_fusion() const {
    return fusion_;
  }

  // `error`, or what the context died of.
  cudaError_t result(cudaError_t error = cudaSuccess) {
    const cudaError_t report = sticky_ != cudaSuccess ? sticky_.load() : error;
    if (report != cudaSuccess) {
      last_ = report;
    }
    return report;
  }

  cudaError_t take_last() {
    const cudaError_t report = sticky_ != cudaSuccess ? sticky_.load() : last_;
    last_ = cudaSuccess;
    return report;
  }

 private:
  Faults() {
    const char* order = std::getenv("FAKE_CUDA_FAULT");
    auto number = [&](const char* what) -> long {
      const size_t length = std::strlen(what);
      return order != nullptr && std::strncmp(order, what, length) == 0 ? std::atol(order + length) : 0;
    };
    malloc_at_ = number("malloc:");
    launch_at_ = number("launch:");
    event_polls_ = number("events:");
    fusion_ = order != nullptr && std::strcmp(order, "fusion") == 0;
  }

  long malloc_at_, launch_at_, event_polls_;
  bool fusion_;
  std::atomic<long> mallocs_{0}, launches_{0};
  std::atomic<cudaError_t> sticky_{cudaSuccess};
  static inline thread_local cudaError_t last_ = cudaSuccess;
};

} // namespace fake
