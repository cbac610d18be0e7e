/* Preloaded into the agent to simulate disk faults. FAULT_SYNC_MS delays every sync. While the file FAULT_READONLY exists, pwrite
 * fails with EROFS; only the store uses pwrite, so that nothing else is affected. While the file FAULT_HANG exists, writes to files
 * whose path contains FAULT_HANG_AT do not return. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static void wait_a_while(void) {
  const char *ms = getenv("FAULT_SYNC_MS");
  if (ms) usleep(1000 * atoi(ms));
}

int fdatasync(int fd) {
  int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  wait_a_while();
  return next(fd);
}

int fsync(int fd) {
  int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  wait_a_while();
  return next(fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
  ssize_t (*next)(int, const void *, size_t, off64_t) =
      (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
  const char *flag = getenv("FAULT_READONLY");
  if (flag && access(flag, F_OK) == 0) {
    errno = EROFS;
    return -1;
  }
  return next(fd, bytes, count, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return pwrite64(fd, bytes, count, at); }

static void hang(int fd) {
  const char *flag = getenv("FAULT_HANG"), *at = getenv("FAULT_HANG_AT");
  if (!flag || !at || access(flag, F_OK) != 0) return;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return;
  path[length] = 0;
  if (!strstr(path, at)) return;
  while (access(flag, F_OK) == 0) usleep(10000);
}

ssize_t write(int fd, const void *bytes, size_t count) {
  ssize_t (*next)(int, const void *, size_t) = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  hang(fd);
  return next(fd, bytes, count);
}
