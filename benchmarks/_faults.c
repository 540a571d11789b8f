/* Counts what a program does to the disk below one folder, and at a given event kills its process group or lets the
   disk be full. Loaded with LD_PRELOAD; the counters are in a file that all processes of a trial map. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct state {
  atomic_long count; /* events so far */
  atomic_long at;    /* the event at which it happens; 0 for never */
  atomic_long mode;  /* 1: SIGKILL to the group; 2: no space left, until `until` */
  atomic_long until;
  char root[PATH_MAX];
  char what[64];          /* the phase and the call at which it happened */
  char where[PATH_MAX];   /* and on what */
  char phase[32];         /* what the program said that it was doing */
};
static struct state *state;
static int journal = -1; /* takes a line an event when nothing is to happen */

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("FAULTS_STATE");
  if (!path) return;
  int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void *found = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (found != MAP_FAILED) state = found;
  close(file);
  const char *told = getenv("FAULTS_JOURNAL");
  if (told) journal = open(told, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static int below_path(const char *path) {
  char whole[PATH_MAX];
  if (!state || !state->root[0] || !path) return 0;
  if (path[0] == '/') return strncmp(path, state->root, strlen(state->root)) == 0;
  if (!getcwd(whole, sizeof whole)) return 0;
  return strncmp(whole, state->root, strlen(state->root)) == 0;
}

static int below_file(int file) {
  char link[64], path[PATH_MAX];
  if (!state || !state->root[0]) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return below_path(path);
}

/* 0: go on; 1: fail with errno set; 2: die after half of it */
static void note(const char *what, const char *path) {
  snprintf(state->what, sizeof state->what, "%s\t%s", state->phase, what);
  snprintf(state->where, sizeof state->where, "%s", path ? path : "");
}

static int event(int needs_space, const char *what, const char *path, int file) {
  long number = atomic_fetch_add(&state->count, 1) + 1;
  long at = atomic_load(&state->at), mode = atomic_load(&state->mode);
  if (at && number < at) return 0;
  if (number == at || (!at && journal >= 0)) {
    char link[64], found[PATH_MAX];
    ssize_t length = 0;
    if (!path) {
      snprintf(link, sizeof link, "/proc/self/fd/%d", file);
      length = readlink(link, found, sizeof found - 1);
      found[length < 0 ? 0 : length] = 0;
    }
    if (at) note(what, path ? path : found);
    else dprintf(journal, "%s\t%s\t%s\n", state->phase, what, path ? path : found);
  }
  if (!at) return 0;
  if (mode == 1) return number == at ? 2 : 0;
  if (mode == 2 && needs_space && number < atomic_load(&state->until)) { errno = ENOSPC; return 1; }
  return 0;
}

static void die(void) { kill(0, SIGKILL); for (;;) pause(); }

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define WRITES(name, params, file, args, half)                     \
  ssize_t name params {                                            \
    REAL(name);                                                    \
    if (!below_file(file)) return real args;                       \
    int verdict = event(1, #name, NULL, file);                     \
    if (verdict == 1) return -1;                                   \
    if (verdict == 2) { (void)!(real half); die(); }               \
    return real args;                                              \
  }
WRITES(write, (int f, const void *b, size_t n), f, (f, b, n), (f, b, n / 2))
WRITES(pwrite, (int f, const void *b, size_t n, off_t o), f, (f, b, n, o), (f, b, n / 2, o))
WRITES(pwrite64, (int f, const void *b, size_t n, off64_t o), f, (f, b, n, o), (f, b, n / 2, o))
WRITES(writev, (int f, const struct iovec *v, int n), f, (f, v, n), (f, v, n / 2))

#define DOES(name, params, below, args, space, path, file)         \
  int name params {                                                \
    REAL(name);                                                    \
    if (!(below)) return real args;                                \
    int verdict = event(space, #name, path, file);                 \
    if (verdict == 1) return -1;                                   \
    if (verdict == 2) die();                                       \
    return real args;                                              \
  }
DOES(fsync, (int f), below_file(f), (f), 1, NULL, f)
DOES(fdatasync, (int f), below_file(f), (f), 1, NULL, f)
DOES(ftruncate, (int f, off_t n), below_file(f), (f, n), 0, NULL, f)
DOES(ftruncate64, (int f, off64_t n), below_file(f), (f, n), 0, NULL, f)
DOES(rename, (const char *a, const char *b), below_path(b), (a, b), 1, b, -1)
DOES(renameat, (int x, const char *a, int y, const char *b), below_path(b), (x, a, y, b), 1, b, -1)
DOES(renameat2, (int x, const char *a, int y, const char *b, unsigned g), below_path(b), (x, a, y, b, g), 1, b, -1)
DOES(link, (const char *a, const char *b), below_path(b), (a, b), 1, b, -1)
DOES(linkat, (int x, const char *a, int y, const char *b, int g), below_path(b), (x, a, y, b, g), 1, b, -1)
DOES(unlink, (const char *a), below_path(a), (a), 0, a, -1)
DOES(unlinkat, (int x, const char *a, int g), below_path(a), (x, a, g), 0, a, -1)
DOES(mkdir, (const char *a, mode_t m), below_path(a), (a, m), 1, a, -1)

#define OPENS(name, params, path, flags, args)                     \
  int name params {                                                \
    REAL(name);                                                    \
    mode_t mode = 0;                                               \
    if (flags & (O_CREAT | __O_TMPFILE)) {                         \
      va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); \
    }                                                              \
    if (!(flags & O_CREAT) || !below_path(path) || access(path, F_OK) == 0) return real args; \
    int verdict = event(1, #name, path, -1);                       \
    if (verdict == 1) return -1;                                   \
    if (verdict == 2) die();                                       \
    return real args;                                              \
  }
OPENS(open, (const char *p, int g, ...), p, g, (p, g, mode))
OPENS(open64, (const char *p, int g, ...), p, g, (p, g, mode))
OPENS(openat, (int d, const char *p, int g, ...), p, g, (d, p, g, mode))
OPENS(openat64, (int d, const char *p, int g, ...), p, g, (d, p, g, mode))
