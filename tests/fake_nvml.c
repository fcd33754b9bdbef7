/* A stand-in for NVIDIA's management library: two GPUs, of whose processes FAKE_NVML tells, as "pid:bytes" with commas
   between for the first GPU and, behind a semicolon, for the second. "me" is the process that asks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; } process_t;

static int fails(const char *call) { const char *said = getenv("FAKE_NVML_FAILS"); return said && !strcmp(said, call); }

int nvmlInit_v2(void) { return fails("init") ? 9 : 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return fails("count") ? 999 : 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = (void *)(unsigned long)(index + 1); return 0; }

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, process_t *found) {
    char said[512], *gpu, *rest = said, *each;
    unsigned room = *count, number = 0;
    if (fails("processes")) return 3;
    snprintf(said, sizeof said, "%s", getenv("FAKE_NVML") ? getenv("FAKE_NVML") : "");
    for (unsigned index = 1; (gpu = strsep(&rest, ";")) && index < (unsigned long)device; index++) {}
    while (gpu && (each = strsep(&gpu, ","))) {
        char *size = strchr(each, ':');
        if (!size) continue;
        if (number < room && found) {
            memset(&found[number], 0, sizeof *found);
            found[number].pid = strncmp(each, "me", 2) ? (unsigned)atoi(each) : (unsigned)getpid();
            found[number].memory = strtoull(size + 1, NULL, 10);
        }
        number++;
    }
    *count = number;
    return number > room ? 7 : 0;
}
