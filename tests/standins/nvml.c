/* A stand-in for libnvidia-ml.so.1. What it reports stands in the text file named by FAKE_NVML, one "key=value" a line,
 * read anew at each call, so that a test changes the machine under a running process.
 *
 *   count=2                          GPUs; without this line or without the file: no driver
 *   0.uuid= 0.name=                  text
 *   0.total= 0.used= 0.reserved=     bytes
 *   0.utilization= 0.temperature= 0.compute=90
 *   0.processes=123:1048576,...      pid:bytes of those that compute on it
 *   0.ecc=3                          uncorrected ECC errors; without it ECC is not supported
 *   0.hang=1                         nvmlDeviceGetMemoryInfo never returns
 *   xid=<number>:0:79                an XID event of GPU 0; told once for each new number
 *   0.mig=2                          MIG mode is on, with two instances; 0.mig1.total= ... describe the second
 *   fault.<function>=<code>          this function fails with this nvmlReturn_t
 *   0.fault.<function>=<code>        ... for this GPU only (0.mig1.fault.<function> for an instance)
 *
 * A handle is GPU + 1 in the low byte and instance + 1 in the next. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15, LIB_RM_VERSION_MISMATCH = 18,
    ARGUMENT_VERSION_MISMATCH = 25
};
typedef int Return;
typedef void *Device;
typedef unsigned long long Bytes;

static int started;

static int gpu_of(Device device) { return (int)((uintptr_t)device & 0xff) - 1; }
static int instance_of(Device device) { return (int)((uintptr_t)device >> 8 & 0xff) - 1; }

static int lookup(const char *key, char *value, size_t room) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[1024];
    size_t length = strlen(key);
    int found = 0;
    if (!file) return 0;
    while (!found && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, length) || line[length] != '=') continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(value, room, "%s", line + length + 1);
        found = 1;
    }
    fclose(file);
    return found;
}

static int lookup_of(Device device, const char *field, char *value, size_t room) {
    char key[256];
    if (instance_of(device) >= 0) snprintf(key, sizeof key, "%d.mig%d.%s", gpu_of(device), instance_of(device), field);
    else snprintf(key, sizeof key, "%d.%s", gpu_of(device), field);
    return lookup(key, value, room);
}

static Bytes number_of(Device device, const char *field, Bytes otherwise) {
    char value[64];
    return lookup_of(device, field, value, sizeof value) ? strtoull(value, NULL, 0) : otherwise;
}

static unsigned count(void) {
    char value[64];
    return lookup("count", value, sizeof value) ? (unsigned)strtoul(value, NULL, 0) : 0;
}

/* What every function checks first: started, the injected faults, a valid handle. */
static Return check(const char *function, Device device) {
    char key[200], value[64];
    if (!started) return UNINITIALIZED;
    snprintf(key, sizeof key, "fault.%s", function);
    if (lookup(key, value, sizeof value)) return atoi(value);
    if (!device) return SUCCESS;
    if (gpu_of(device) < 0 || (unsigned)gpu_of(device) >= count()) return INVALID_ARGUMENT;
    if (lookup_of(device, key, value, sizeof value)) return atoi(value);
    return SUCCESS;
}
#define CHECK(device) do { Return code_ = check(__func__, device); if (code_) return code_; } while (0)

static Return text_of(Device device, const char *field, const char *pattern, char *out, unsigned room) {
    char value[512];
    if (!lookup_of(device, field, value, sizeof value))
        snprintf(value, sizeof value, pattern, gpu_of(device), instance_of(device) + 1);
    if (strlen(value) + 1 > room) return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return SUCCESS;
}

static Return start(void) {
    char value[64];
    if (lookup("fault.nvmlInit", value, sizeof value)) return atoi(value);
    if (!lookup("count", value, sizeof value)) return DRIVER_NOT_LOADED;
    started++;
    return SUCCESS;
}
/* pynvml calls the third, torch the first, others the second. */
Return nvmlInit(void) { return start(); }
Return nvmlInit_v2(void) { return start(); }
Return nvmlInitWithFlags(unsigned flags) { (void)flags; return start(); }

Return nvmlShutdown(void) {
    CHECK(NULL);
    started--;
    return SUCCESS;
}

const char *nvmlErrorString(Return code) {
    switch (code) {
        case SUCCESS: return "Success";
        case UNINITIALIZED: return "Uninitialized";
        case INVALID_ARGUMENT: return "Invalid Argument";
        case NOT_SUPPORTED: return "Not Supported";
        case NO_PERMISSION: return "Insufficient Permissions";
        case NOT_FOUND: return "Not Found";
        case INSUFFICIENT_SIZE: return "Insufficient Size";
        case DRIVER_NOT_LOADED: return "Driver Not Loaded";
        case TIMEOUT: return "Timeout";
        case GPU_IS_LOST: return "GPU is lost";
        case LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
        case ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
        default: return "Unknown Error";
    }
}

Return nvmlSystemGetDriverVersion(char *out, unsigned room) {
    CHECK(NULL);
    if (room < 12) return INSUFFICIENT_SIZE;
    strcpy(out, "580.65.06");
    return SUCCESS;
}
Return nvmlSystemGetCudaDriverVersion_v2(int *version) { CHECK(NULL); *version = 13000; return SUCCESS; }

Return nvmlDeviceGetCount_v2(unsigned *out) { CHECK(NULL); *out = count(); return SUCCESS; }

Return nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *out) {
    Device device = (Device)(uintptr_t)(index + 1);
    if (index >= count()) return INVALID_ARGUMENT;
    CHECK(device);
    *out = device;
    return SUCCESS;
}

Return nvmlDeviceGetUUID(Device device, char *out, unsigned room) {
    CHECK(device);
    return text_of(device, "uuid", instance_of(device) < 0 ? "GPU-%08x-0000-4000-8000-000000000000"
                                                           : "MIG-%08x-%04x-5000-8000-000000000000", out, room);
}

Return nvmlDeviceGetHandleByUUID(const char *uuid, Device *out) {
    char known[512];
    CHECK(NULL);
    for (unsigned index = 0; index < count(); index++) {
        Device device = (Device)(uintptr_t)(index + 1);
        if (nvmlDeviceGetUUID(device, known, sizeof known) || strcmp(known, uuid)) continue;
        *out = device;
        return SUCCESS;
    }
    return NOT_FOUND;
}

Return nvmlDeviceGetName(Device device, char *out, unsigned room) {
    CHECK(device);
    return text_of(device, "name", "Stand-in GPU %d", out, room);
}
Return nvmlDeviceGetIndex(Device device, unsigned *out) { CHECK(device); *out = gpu_of(device); return SUCCESS; }

Return nvmlDeviceGetCudaComputeCapability(Device device, int *major, int *minor) {
    CHECK(device);
    int capability = (int)number_of(device, "compute", 90);
    *major = capability / 10;
    *minor = capability % 10;
    return SUCCESS;
}

#define DEFAULT_TOTAL ((Bytes)80 << 30)
typedef struct { Bytes total, free, used; } Memory;
typedef struct { unsigned version; Bytes total, reserved, free, used; } MemoryV2;

/* As the driver does: version 1 counts what is reserved as used, version 2 apart. */
Return nvmlDeviceGetMemoryInfo(Device device, Memory *memory) {
    CHECK(device);
    while (number_of(device, "hang", 0)) pause(); /* as a sick driver does, but for SIGKILL */
    memory->total = number_of(device, "total", DEFAULT_TOTAL);
    memory->used = number_of(device, "used", 0) + number_of(device, "reserved", 0);
    memory->free = memory->total - memory->used;
    return SUCCESS;
}
Return nvmlDeviceGetMemoryInfo_v2(Device device, MemoryV2 *memory) {
    CHECK(device);
    if (memory->version != (sizeof(MemoryV2) | 2u << 24)) return ARGUMENT_VERSION_MISMATCH;
    memory->total = number_of(device, "total", DEFAULT_TOTAL);
    memory->reserved = number_of(device, "reserved", 0);
    memory->used = number_of(device, "used", 0);
    memory->free = memory->total - memory->used - memory->reserved;
    return SUCCESS;
}

typedef struct { unsigned gpu, memory; } Utilization;
Return nvmlDeviceGetUtilizationRates(Device device, Utilization *out) {
    CHECK(device);
    if (instance_of(device) >= 0) return NOT_SUPPORTED;
    out->gpu = (unsigned)number_of(device, "utilization", 0);
    out->memory = (unsigned)number_of(device, "memory_utilization", 0);
    return SUCCESS;
}
Return nvmlDeviceGetTemperature(Device device, unsigned sensor, unsigned *out) {
    (void)sensor;
    CHECK(device);
    *out = (unsigned)number_of(device, "temperature", 40);
    return SUCCESS;
}
typedef struct { unsigned pid; Bytes used; unsigned gpu_instance, compute_instance; } Process;
Return nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned *found, Process *out) {
    CHECK(device);
    char value[1024], *rest = value, *entry;
    unsigned room = out ? *found : 0;
    *found = 0;
    if (!lookup_of(device, "processes", value, sizeof value)) return SUCCESS;
    while ((entry = strsep(&rest, ","))) {
        if (*found < room) {
            char *bytes = strchr(entry, ':');
            out[*found] = (Process){(unsigned)atoi(entry), strtoull(bytes + 1, NULL, 0), ~0u, ~0u};
        }
        ++*found;
    }
    return *found > room ? INSUFFICIENT_SIZE : SUCCESS;
}
Return nvmlDeviceGetTotalEccErrors(Device device, int kind, int counter, Bytes *out) {
    (void)kind, (void)counter;
    CHECK(device);
    Bytes errors = number_of(device, "ecc", (Bytes)-1);
    if (errors == (Bytes)-1) return NOT_SUPPORTED;
    *out = errors;
    return SUCCESS;
}

typedef struct { Device device; Bytes type, data; unsigned gpu_instance, compute_instance; } Event;
static long told; /* the number of the XID that was told last */
Return nvmlEventSetCreate(void **out) { CHECK(NULL); *out = &told; return SUCCESS; }
Return nvmlDeviceRegisterEvents(Device device, Bytes kinds, void *set) {
    (void)kinds, (void)set;
    CHECK(device);
    return SUCCESS;
}
Return nvmlEventSetWait_v2(void *set, Event *out, unsigned milliseconds) {
    char value[64];
    long number;
    unsigned gpu, xid;
    (void)set, (void)milliseconds;
    CHECK(NULL);
    if (!lookup("xid", value, sizeof value) || sscanf(value, "%ld:%u:%u", &number, &gpu, &xid) != 3 || number <= told)
        return TIMEOUT;
    told = number;
    *out = (Event){(Device)(uintptr_t)(gpu + 1), 8, xid, ~0u, ~0u};
    return SUCCESS;
}

#define NO_MIG ((Bytes)-1)
Return nvmlDeviceGetMigMode(Device device, unsigned *current, unsigned *pending) {
    CHECK(device);
    if (number_of(device, "mig", NO_MIG) == NO_MIG) return NOT_SUPPORTED;
    *current = *pending = !number_of(device, "mig_off", 0);
    return SUCCESS;
}
/* One place more than there are instances, so that callers meet an empty one. */
Return nvmlDeviceGetMaxMigDeviceCount(Device device, unsigned *out) {
    CHECK(device);
    *out = (unsigned)number_of(device, "mig", 0) + 1;
    return SUCCESS;
}
Return nvmlDeviceGetMigDeviceHandleByIndex(Device device, unsigned place, Device *out) {
    CHECK(device);
    if (place >= number_of(device, "mig", 0)) return NOT_FOUND;
    *out = (Device)((uintptr_t)(place + 1) << 8 | (uintptr_t)device);
    return SUCCESS;
}
Return nvmlDeviceIsMigDeviceHandle(Device device, unsigned *out) {
    CHECK(device);
    *out = instance_of(device) >= 0;
    return SUCCESS;
}
Return nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device device, Device *out) {
    CHECK(device);
    if (instance_of(device) < 0) return INVALID_ARGUMENT;
    *out = (Device)((uintptr_t)device & 0xff);
    return SUCCESS;
}
