/* Stands between a process and the disk, by LD_PRELOAD: counts what is done to the files of one directory, lets the Nth
   of it fail, or writes down all of it. Everything else passes. Driven by shim.py, from inside the process.

   A fault is one call that returns -1 with an errno and does nothing; or a write that stores some of its bytes, after
   which the next one fails, as a disk that fills up behaves. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, TRUNCATE = 4, NAME = 8, READ = 16 };

static char directory[4096];
static size_t directory_length;
static int is_armed, kinds, code, is_lasting, is_partial, pending, log_file = -1;
static long nth, seen, failed;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real_pread)(int, void *, size_t, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);
static int (*real_rename)(const char *, const char *);
static int (*real_link)(const char *, const char *);
static int (*real_unlink)(const char *);
static int (*real_open)(const char *, int, ...);

#define FIND(name) real_##name = dlsym(RTLD_NEXT, #name)

/* What other libraries call before this one's constructors run comes here, too. */
static void find(void) {
  if (real_open) return;
  FIND(write), FIND(pwrite), FIND(read), FIND(pread), FIND(fsync), FIND(fdatasync), FIND(ftruncate);
  FIND(rename), FIND(link), FIND(unlink), FIND(open);
}

/* The path of an open file, or of the directory; NULL for what lies elsewhere. */
static const char *path_of(int file, char *path) {
  char link[64];
  if (!directory_length) return NULL;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, 4095);
  if (length < 0) return NULL;
  path[length] = 0;
  int is_inside = !strncmp(path, directory, directory_length) && (path[directory_length] == '/' || !path[directory_length]);
  return is_inside ? path : NULL;
}

static int is_inside(const char *path) {
  return directory_length && !strncmp(path, directory, directory_length) && path[directory_length] == '/';
}

/* How much of a write is stored that stops in the middle: up to a sector's boundary, as disks and file systems do it. */
static size_t part_of(off_t at, size_t size) {
  off_t end = (at + (off_t)size / 2) / 512 * 512;
  return end > at ? end - at : 0;
}

/* 0 to go on, 1 to fail, 2 to write a part. */
static int verdict(int kind) {
  if (!is_armed || !(kinds & kind)) return 0;
  seen++;
  int hits = seen == nth || (is_lasting && seen > nth) || pending;
  if (!hits) return 0;
  failed++;
  if (is_partial && kind == WRITE && failed == 1) {
    pending = 1;
    return 2;
  }
  pending = 0;
  errno = code;
  return 1;
}

static int failed_for_good(void) {
  pending = 0;
  errno = code;
  return -1;
}

static void note(char what, const char *path, const char *other, uint64_t at, const void *data, uint32_t length) {
  if (log_file < 0) return;
  struct { char what; char pad[3]; uint32_t path, other, length; uint64_t at; } head = {what, {0}, 0, 0, length, at};
  head.path = strlen(path);
  head.other = other ? strlen(other) : 0;
  real_write(log_file, &head, sizeof head);
  real_write(log_file, path, head.path);
  if (other) real_write(log_file, other, head.other);
  if (length) real_write(log_file, data, length);
}

void shim_directory(const char *path) {
  directory_length = strlen(path);
  memcpy(directory, path, directory_length + 1);
}

void shim_arm(long number, int which, int error, int lasting, int partial) {
  nth = number, kinds = which, code = error, is_lasting = lasting, is_partial = partial;
  seen = failed = pending = 0;
  is_armed = 1;
}

void shim_disarm(void) { is_armed = 0; }
long shim_seen(void) { return seen; }
long shim_failed(void) { return failed; }
void shim_record(int file) { log_file = file; }
void shim_mark(uint64_t number) { note('!', "", NULL, number, NULL, 0); }

ssize_t write(int file, const void *data, size_t size) {
  char path[4096];
  find();
  int error = errno;
  const char *found = path_of(file, path);
  if (!found) return errno = error, real_write(file, data, size);
  int how = verdict(WRITE);
  if (how == 1) return -1;
  off_t at = lseek(file, 0, SEEK_CUR);
  if (how == 2) size = part_of(at, size);
  if (how == 2 && !size) return failed_for_good();
  ssize_t done = real_write(file, data, size);
  if (done > 0) note('w', found, NULL, at, data, done);
  return done;
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
  char path[4096];
  find();
  const char *found = path_of(file, path);
  if (!found) return real_pwrite(file, data, size, at);
  int how = verdict(WRITE);
  if (how == 1) return -1;
  if (how == 2) size = part_of(at, size);
  if (how == 2 && !size) return failed_for_good();
  ssize_t done = real_pwrite(file, data, size, at);
  if (done > 0) note('w', found, NULL, at, data, done);
  return done;
}
ssize_t pwrite64(int file, const void *data, size_t size, off_t at) { return pwrite(file, data, size, at); }

ssize_t read(int file, void *data, size_t size) {
  char path[4096];
  find();
  if (is_armed && (kinds & READ) && path_of(file, path) && verdict(READ)) return -1;
  return real_read(file, data, size);
}

ssize_t pread(int file, void *data, size_t size, off_t at) {
  char path[4096];
  find();
  if (is_armed && (kinds & READ) && path_of(file, path) && verdict(READ)) return -1;
  return real_pread(file, data, size, at);
}
ssize_t pread64(int file, void *data, size_t size, off_t at) { return pread(file, data, size, at); }

#define SYNCS(name)                                           \
  int name(int file) {                                        \
    char path[4096];                                          \
    find();                                                   \
    const char *found = path_of(file, path);                  \
    if (!found) return real_##name(file);                      \
    if (verdict(SYNC)) return -1;                             \
    int done = real_##name(file);                              \
    if (!done) note('s', found, NULL, 0, NULL, 0);            \
    return done;                                              \
  }
SYNCS(fsync)
SYNCS(fdatasync)

int ftruncate(int file, off_t size) {
  char path[4096];
  find();
  const char *found = path_of(file, path);
  if (!found) return real_ftruncate(file, size);
  if (verdict(TRUNCATE)) return -1;
  int done = real_ftruncate(file, size);
  if (!done) note('t', found, NULL, size, NULL, 0);
  return done;
}
int ftruncate64(int file, off_t size) { return ftruncate(file, size); }

int rename(const char *from, const char *to) {
  find();
  if (!is_inside(to)) return real_rename(from, to);
  if (verdict(NAME)) return -1;
  int done = real_rename(from, to);
  if (!done) note('r', from, to, 0, NULL, 0);
  return done;
}

int link(const char *from, const char *to) {
  find();
  if (!is_inside(to)) return real_link(from, to);
  if (verdict(NAME)) return -1;
  int done = real_link(from, to);
  if (!done) note('l', from, to, 0, NULL, 0);
  return done;
}

int unlink(const char *path) {
  find();
  if (!is_inside(path)) return real_unlink(path);
  if (verdict(NAME)) return -1;
  int done = real_unlink(path);
  if (!done) note('u', path, NULL, 0, NULL, 0);
  return done;
}

int open(const char *path, int flags, ...) {
  find();
  mode_t mode = 0;
  if (flags & O_CREAT) {
    va_list given;
    va_start(given, flags);
    mode = va_arg(given, mode_t);
    va_end(given);
  }
  int creates = 0;
  if ((flags & O_CREAT) && is_inside(path)) {
    struct stat found;
    int error = errno;
    creates = stat(path, &found) != 0;
    errno = error;
    if (creates && verdict(NAME)) return -1;
  }
  int file = real_open(path, flags, mode);
  if (creates && file >= 0) note('c', path, NULL, 0, NULL, 0);
  return file;
}
int open64(const char *path, int flags, ...) {
  va_list given;
  va_start(given, flags);
  mode_t mode = flags & O_CREAT ? va_arg(given, mode_t) : 0;
  va_end(given);
  return open(path, flags, mode);
}
