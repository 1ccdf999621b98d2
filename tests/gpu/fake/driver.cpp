// A fake CUDA driver, libcuda.so.1, with the calls that this project and libtorch make before the runtime's.
// FAKE_CUDA_GPUS is the number of GPUs (1), FAKE_CUDA_DRIVER the version (13000).
#include <dlfcn.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {
int number(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}
} // namespace

extern "C" {

int cuDriverGetVersion(int* version) {
  *version = number("FAKE_CUDA_DRIVER", 13000);
  return 0;
}

int cuInit(unsigned) {
  return 0;
}

int cuDeviceGetCount(int* count) {
  *count = number("FAKE_CUDA_GPUS", 1);
  return 0;
}

int cuDeviceGet(int* device, int index) {
  *device = index;
  return 0;
}

int cuDeviceGetName(char* name, int length, int device) {
  std::snprintf(name, length, "Fake GPU %d", device);
  return 0;
}

int cuDeviceGetUuid(unsigned char* uuid, int device) {
  std::memset(uuid, 0x40 + device, 16);
  return 0;
}

int cuDeviceGetUuid_v2(unsigned char* uuid, int device) {
  return cuDeviceGetUuid(uuid, device);
}

int cuDevicePrimaryCtxGetState(int device, unsigned* flags, int* active) {
  auto has = reinterpret_cast<int (*)(int)>(dlsym(RTLD_DEFAULT, "fake_has_context"));
  *flags = 0;
  *active = has == nullptr ? 0 : has(device);
  return 0;
}

int cuCtxGetCurrent(void** context) {
  static char only;
  *context = &only;
  return 0;
}

// What libtorch looks up and calls only where it compiles kernels at run time.
int fake_driver_call(void) {
  return 0;
}

} // extern "C"
