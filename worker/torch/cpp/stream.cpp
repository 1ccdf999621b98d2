// Streams, events and pinned memory of a GPU through c10's device-generic API, so that no CUDA library is needed at link
// time.
#include "entry.h"

#include <ATen/ops/empty.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace {
c10::Device gpu(int index) {
  return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
}

// Throws where CUDA does not exist in this process.
c10::impl::VirtualGuardImpl guard() {
  return c10::impl::VirtualGuardImpl(c10::kCUDA);
}

c10::Stream stream(int index, int64_t id) {
  return c10::Stream(c10::Stream::UNSAFE, gpu(index), id);
}
} // namespace

extern "C" {

int ulda_device_use(int index) {
  return ulda::guarded([&] { guard().setDevice(gpu(index)); });
}

int ulda_device_synchronize(int index) {
  return ulda::guarded([&] { guard().synchronizeDevice(static_cast<c10::DeviceIndex>(index)); });
}

int ulda_stream_current(int index, int64_t* id) {
  return ulda::guarded([&] { *id = guard().getStream(gpu(index)).id(); });
}

// From libtorch's pool; such streams do not wait for the default one by themselves.
int ulda_stream_pool(int index, int64_t* id) {
  return ulda::guarded([&] { *id = guard().getStreamFromGlobalPool(gpu(index), /*isHighPriority=*/true).id(); });
}

int ulda_stream_native(int index, int64_t id, void** handle) {
  return ulda::guarded([&] { *handle = stream(index, id).native_handle(); });
}

int ulda_event_record(int index, int64_t id, void** event) {
  return ulda::guarded([&] {
    auto made = std::make_unique<c10::Event>(c10::kCUDA);
    made->record(stream(index, id));
    *event = made.release();
  });
}

int ulda_event_block(void* event, int index, int64_t id) {
  return ulda::guarded([&] { static_cast<c10::Event*>(event)->block(stream(index, id)); });
}

int ulda_event_query(void* event, int* passed) {
  return ulda::guarded([&] { *passed = static_cast<c10::Event*>(event)->query(); });
}

void ulda_event_free(void* event) {
  delete static_cast<c10::Event*>(event);
}

// Bytes in host memory, uninitialised. The allocator of pinned memory gives it to others once copies from it are through.
int ulda_host_bytes(const int64_t* size, size_t dimensions, int pinned, void** tensor) {
  return ulda::guarded([&] {
    const auto options = at::TensorOptions(at::kByte).pinned_memory(pinned != 0);
    *tensor = ulda::give(at::empty(at::IntArrayRef(size, dimensions), options));
  });
}

} // extern "C"
