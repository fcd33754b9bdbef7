/* What deploykit asks of NVIDIA's driver: two GPUs of compute capability TARGET, CUDA as in 13000 for 13.0. */
#include <stddef.h>
#include <string.h>
#include <unistd.h>

int cuInit(unsigned flags) { (void)flags; ON_START }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDriverGetVersion(int *version) { *version = CUDA; return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { (void)device; *bytes = 80000000000; return 0; }
int cuDeviceGetName(char *name, int size, int device) {
    strncpy(name, device ? "NVIDIA L4" : "NVIDIA H100 80GB HBM3", (size_t)size);
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    int target = device ? 89 : TARGET;
    *value = attribute == 75 ? target / 10 : attribute == 76 ? target % 10 : 0;
    return 0;
}
