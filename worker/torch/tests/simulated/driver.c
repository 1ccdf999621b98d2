/* A driver with two GPUs that answers as the macros say. */
#include <string.h>
int cuDriverGetVersion(int *v) { *v = VERSION; return 0; }
int cuInit(unsigned flags) { (void)flags; return INIT; }
int cuDeviceGetCount(int *n) { *n = 2; return 0; }
int cuDeviceGet(int *d, int i) { *d = 10 + i; return 0; }
int cuDeviceGetName(char *name, int length, int d) { strncpy(name, d == 10 ? "NVIDIA A" : "NVIDIA B", length); return 0; }
int cuDeviceGetUuid(unsigned char *u, int d) { memset(u, d, 16); return 0; }
