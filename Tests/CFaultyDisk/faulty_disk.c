#include "faulty_disk.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    sqlite3_file base;
    sqlite3_file *real;
    char path[512];
} faulty_file;

typedef struct {
    char prefix[512];
    int fault;
    long syncs;
} armed;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static armed prefixes[32];
static int prefix_count;
static sqlite3_vfs *real_vfs;
static sqlite3_vfs faulty_vfs;
static int installed;

static armed *find(const char *path) {
    for (int i = 0; i < prefix_count; i++)
        if (strncmp(path, prefixes[i].prefix, strlen(prefixes[i].prefix)) == 0) return &prefixes[i];
    return NULL;
}

static int fault_of(const char *path, int counts_sync) {
    pthread_mutex_lock(&lock);
    armed *found = find(path);
    int fault = found ? found->fault : FAULTY_DISK_SOUND;
    if (found && counts_sync) found->syncs++;
    pthread_mutex_unlock(&lock);
    return fault;
}

#define REAL(file) (((faulty_file *)(file))->real)
#define PATH(file) (((faulty_file *)(file))->path)

static int f_close(sqlite3_file *f) {
    int code = REAL(f)->pMethods ? REAL(f)->pMethods->xClose(REAL(f)) : SQLITE_OK;
    free(REAL(f));
    return code;
}
static int f_read(sqlite3_file *f, void *b, int n, sqlite3_int64 o) { return REAL(f)->pMethods->xRead(REAL(f), b, n, o); }
static int f_write(sqlite3_file *f, const void *b, int n, sqlite3_int64 o) {
    switch (fault_of(PATH(f), 0)) {
    case FAULTY_DISK_IS_FULL: return SQLITE_FULL;
    case FAULTY_DISK_WRITE_FAILS: return SQLITE_IOERR_WRITE;
    default: return REAL(f)->pMethods->xWrite(REAL(f), b, n, o);
    }
}
static int f_truncate(sqlite3_file *f, sqlite3_int64 n) { return REAL(f)->pMethods->xTruncate(REAL(f), n); }
static int f_sync(sqlite3_file *f, int flags) {
    if (fault_of(PATH(f), 1) == FAULTY_DISK_SYNC_FAILS) return SQLITE_IOERR_FSYNC;
    return REAL(f)->pMethods->xSync(REAL(f), flags);
}
static int f_size(sqlite3_file *f, sqlite3_int64 *n) { return REAL(f)->pMethods->xFileSize(REAL(f), n); }
static int f_lock(sqlite3_file *f, int l) { return REAL(f)->pMethods->xLock(REAL(f), l); }
static int f_unlock(sqlite3_file *f, int l) { return REAL(f)->pMethods->xUnlock(REAL(f), l); }
static int f_check(sqlite3_file *f, int *r) { return REAL(f)->pMethods->xCheckReservedLock(REAL(f), r); }
static int f_control(sqlite3_file *f, int op, void *a) { return REAL(f)->pMethods->xFileControl(REAL(f), op, a); }
static int f_sector(sqlite3_file *f) { return REAL(f)->pMethods->xSectorSize(REAL(f)); }
static int f_traits(sqlite3_file *f) { return REAL(f)->pMethods->xDeviceCharacteristics(REAL(f)); }
static int f_shm_map(sqlite3_file *f, int p, int n, int e, void volatile **m) {
    return REAL(f)->pMethods->xShmMap(REAL(f), p, n, e, m);
}
static int f_shm_lock(sqlite3_file *f, int o, int n, int l) { return REAL(f)->pMethods->xShmLock(REAL(f), o, n, l); }
static void f_shm_barrier(sqlite3_file *f) { REAL(f)->pMethods->xShmBarrier(REAL(f)); }
static int f_shm_unmap(sqlite3_file *f, int d) { return REAL(f)->pMethods->xShmUnmap(REAL(f), d); }

static const sqlite3_io_methods methods = {
    2, f_close, f_read, f_write, f_truncate, f_sync, f_size, f_lock, f_unlock, f_check, f_control, f_sector, f_traits,
    f_shm_map, f_shm_lock, f_shm_barrier, f_shm_unmap, NULL, NULL};

static int v_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out) {
    (void)vfs;
    faulty_file *f = (faulty_file *)file;
    memset(f, 0, sizeof *f);
    f->real = calloc(1, (size_t)real_vfs->szOsFile);
    if (!f->real) return SQLITE_NOMEM;
    if (name) strncpy(f->path, name, sizeof f->path - 1);
    int code = real_vfs->xOpen(real_vfs, name, f->real, flags, out);
    if (code != SQLITE_OK) {
        free(f->real);
        return code;
    }
    f->base.pMethods = &methods;
    return SQLITE_OK;
}

int faulty_disk_install(void) {
    pthread_mutex_lock(&lock);
    int code = SQLITE_OK;
    if (!installed) {
        real_vfs = sqlite3_vfs_find(NULL);
        faulty_vfs = *real_vfs;
        faulty_vfs.zName = "faulty-disk";
        faulty_vfs.szOsFile = sizeof(faulty_file);
        faulty_vfs.xOpen = v_open;
        code = sqlite3_vfs_register(&faulty_vfs, 1);
        installed = code == SQLITE_OK;
    }
    pthread_mutex_unlock(&lock);
    return code;
}

int faulty_disk_arm(const char *prefix, int fault) {
    pthread_mutex_lock(&lock);
    armed *found = NULL;
    for (int i = 0; i < prefix_count; i++)
        if (strcmp(prefix, prefixes[i].prefix) == 0) found = &prefixes[i];
    if (!found && prefix_count < 31) {
        found = &prefixes[prefix_count++];
        strncpy(found->prefix, prefix, sizeof found->prefix - 1);
    }
    if (found) found->fault = fault;
    pthread_mutex_unlock(&lock);
    return found ? 0 : 1;
}

long faulty_disk_syncs(const char *prefix) {
    pthread_mutex_lock(&lock);
    armed *found = find(prefix);
    long syncs = found ? found->syncs : 0;
    pthread_mutex_unlock(&lock);
    return syncs;
}
