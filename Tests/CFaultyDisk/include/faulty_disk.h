#ifndef FAULTY_DISK_H
#define FAULTY_DISK_H

/* A disk that fails when it is told to: a SQLite VFS that passes everything on to the default one, but for the
   files whose path begins with an armed prefix. For tests only. */

enum {
    FAULTY_DISK_SOUND = 0,
    FAULTY_DISK_SYNC_FAILS = 1,  /* fsync answers SQLITE_IOERR_FSYNC */
    FAULTY_DISK_IS_FULL = 2,     /* writes answer SQLITE_FULL */
    FAULTY_DISK_WRITE_FAILS = 3, /* writes answer SQLITE_IOERR_WRITE */
};

/* Makes it the default VFS of this process; 0 on success. May be called again. */
int faulty_disk_install(void);

/* Sets the fault of all files whose path begins with `prefix` (at most 31 prefixes in a process). */
int faulty_disk_arm(const char *prefix, int fault);

/* How many times files under `prefix` were synced. */
long faulty_disk_syncs(const char *prefix);

#endif
