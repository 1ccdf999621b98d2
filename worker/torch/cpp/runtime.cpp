// Process and thread switches of libtorch that tch does not reach, and CUDA memory figures through
// c10's device-generic API (no CUDA library at link time).
#include "entry.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <c10/core/AutogradState.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/InferenceMode.h>
#include <climits>
#include <malloc.h>
#include <mutex>
#include <set>

namespace {
at::DeviceType device_type(int cuda) {
  return cuda ? at::kCUDA : at::kCPU;
}
// Each text once in the life of the process; libtorch says the same at every call.
struct SayOnce : c10::WarningHandler {
  void process(const c10::Warning& warning) override {
    static std::mutex guard;
    static std::set<std::string> said;
    std::lock_guard<std::mutex> held(guard);
    if (said.insert(warning.msg()).second) {
      c10::WarningHandler::process(warning);
    }
  }
};
} // namespace

extern "C" {

int ulda_settle_thread() {
  return ulda::guarded([] {
    static SayOnce once;
    c10::WarningUtils::set_warning_handler(&once);
    c10::AutogradState::get_tls_state().set_multithreading_enabled(false);
  });
}

int ulda_set_deterministic(int on) {
  return ulda::guarded([&] {
    at::globalContext().setDeterministicAlgorithms(on != 0, /*warn_only=*/true);
    at::globalContext().setDeterministicCuDNN(on != 0);
    // Nothing here reads memory before it writes it; filling it costs a kernel per allocation.
    at::globalContext().setDeterministicFillUninitializedMemory(false);
    if (on) {
      at::globalContext().setBenchmarkCuDNN(false);
    }
  });
}

int ulda_set_tf32(int on) {
  return ulda::guarded([&] {
    at::globalContext().setAllowTF32CuBLAS(on != 0);
    at::globalContext().setAllowTF32CuDNN(on != 0);
  });
}

int ulda_exact_products_enter(void** guard) {
  return ulda::guarded([&] { *guard = new at::NoTF32Guard(); });
}

void ulda_exact_products_leave(void* guard) {
  delete static_cast<at::NoTF32Guard*>(guard);
}

int ulda_set_threads(int count) {
  return ulda::guarded([&] {
    TORCH_CHECK(count > 0, "thread count ", count, " is not positive");
    at::set_num_threads(count);
  });
}

int ulda_threads(int* count) {
  return ulda::guarded([&] { *count = at::get_num_threads(); });
}

int ulda_keep_freed_memory() {
  return ulda::guarded([&] {
#ifdef __GLIBC__
    bool set = mallopt(M_MMAP_MAX, 0) == 1;
    set = mallopt(M_ARENA_MAX, 1) == 1 && set;
    set = mallopt(M_TRIM_THRESHOLD, INT_MAX) == 1 && set;
    set = mallopt(M_TOP_PAD, 64 << 20) == 1 && set;
    TORCH_CHECK(set, "mallopt refused");
#endif
  });
}

int ulda_autocast_enter(int cuda, int scalar_type, int* was_enabled, int* was_type) {
  return ulda::guarded([&] {
    auto device = device_type(cuda);
    *was_enabled = at::autocast::is_autocast_enabled(device);
    *was_type = static_cast<int>(at::autocast::get_autocast_dtype(device));
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(scalar_type));
    at::autocast::set_autocast_enabled(device, true);
    at::autocast::increment_nesting();
  });
}

int ulda_autocast_leave(int cuda, int was_enabled, int was_type) {
  return ulda::guarded([&] {
    auto device = device_type(cuda);
    if (at::autocast::decrement_nesting() == 0) {
      at::autocast::clear_cache();
    }
    at::autocast::set_autocast_enabled(device, was_enabled != 0);
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(was_type));
  });
}

int ulda_inference_enter(void** guard) {
  return ulda::guarded([&] { *guard = new c10::InferenceMode(true); });
}

void ulda_inference_leave(void* guard) {
  delete static_cast<c10::InferenceMode*>(guard);
}

int ulda_channels_last(void* input, void** output) {
  return ulda::guarded([&] { *output = ulda::give(ulda::tensor(input).contiguous(at::MemoryFormat::ChannelsLast)); });
}

// figures: allocated, its peak, reserved, its peak, free, total (bytes), times out of memory.
int ulda_cuda_memory(int index, int64_t figures[7]) {
  return ulda::guarded([&] {
    TORCH_CHECK(at::globalContext().hasCUDA(), "no CUDA: libtorch_cuda was not loaded or there is no driver");
    at::globalContext().lazyInitDevice(at::kCUDA);
    auto device = static_cast<c10::DeviceIndex>(index);
    auto* allocator = c10::getDeviceAllocator(at::kCUDA);
    auto stats = allocator->getDeviceStats(device);
    auto memory = allocator->getMemoryInfo(device);
    figures[0] = stats.allocated_bytes[0].current;
    figures[1] = stats.allocated_bytes[0].peak;
    figures[2] = stats.reserved_bytes[0].current;
    figures[3] = stats.reserved_bytes[0].peak;
    figures[4] = static_cast<int64_t>(memory.first);
    figures[5] = static_cast<int64_t>(memory.second);
    figures[6] = stats.num_ooms;
  });
}

} // extern "C"
