// Shared by every file of the shim: how an entry point reports failure to Rust.
//
// Contract of all entry points: they return 0, or -1 with the text in `ulda_last_error` of the calling
// thread. No C++ exception leaves an entry point and no Rust panic enters one.
#pragma once

#include <ATen/core/Tensor.h>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <vector>

namespace ulda {

inline std::string& last_error() {
  static thread_local std::string text;
  return text;
}

// Message of an exception, without c10's backtrace.
inline void remember(const std::exception& error) {
  if (const auto* torch = dynamic_cast<const c10::Error*>(&error)) {
    last_error() = torch->what_without_backtrace();
  } else {
    last_error() = error.what();
  }
}

template <class Body>
int guarded(Body body) {
  try {
    body();
    return 0;
  } catch (const std::exception& error) {
    remember(error);
  } catch (...) {
    last_error() = "unknown C++ exception";
  }
  return -1;
}

inline at::Tensor& tensor(void* handle) {
  return *static_cast<at::Tensor*>(handle);
}

inline std::vector<at::Tensor> tensors(void* const* handles, size_t count) {
  std::vector<at::Tensor> all;
  for (size_t i = 0; i < count; i++) {
    all.push_back(tensor(handles[i]));
  }
  return all;
}

// A tensor that Rust owns from now on.
inline void* give(at::Tensor value) {
  return new at::Tensor(std::move(value));
}

// Where a Rust callback leaves its error text.
struct CallbackError {
  char text[1024] = {0};
};

// A reference-counted Rust object; `release` drops this reference.
struct RustObject {
  void* object;
  void (*release)(void*);
  RustObject(void* o, void (*r)(void*)) : object(o), release(r) {}
  RustObject(const RustObject&) = delete;
  RustObject& operator=(const RustObject&) = delete;
  ~RustObject() {
    release(object);
  }
};

} // namespace ulda
