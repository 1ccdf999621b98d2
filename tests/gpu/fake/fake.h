// What the parts of the fake GPU share. The runtime counts; the libraries and the driver report to it.
#pragma once

extern "C" {
// Counts an operation of a library on a GPU as a launch, under `name`.
void fake_library_launch(const char* name);
// Adds one to a count of the step.
void fake_count(const char* name);
// Whether this process has a context on `device`.
int fake_has_context(int device);
// Whether cuDNN has no fused operations, as FAKE_CUDA_FAULT orders.
int fake_refuses_fusion(void);
}
