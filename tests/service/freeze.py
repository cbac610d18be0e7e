"""Stops the threads of a process that have a name, until standard input ends.

Usage: freeze.py PID NAME... Prints the number of stopped threads. Stops them as a debugger does: the
other threads of the process go on.
"""

import ctypes
import os
import sys
import time

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PTRACE_DETACH = 17
WAIT_ALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x} of thread {thread}")


def main():
    pid, names = int(sys.argv[1]), sys.argv[2:]
    stopped = []
    for thread in map(int, os.listdir(f"/proc/{pid}/task")):
        with open(f"/proc/{pid}/task/{thread}/comm") as file:
            if not file.read().strip().startswith(tuple(names)):
                continue
        ptrace(PTRACE_SEIZE, thread)
        ptrace(PTRACE_INTERRUPT, thread)
        os.waitpid(thread, WAIT_ALL)
        stopped.append(thread)
    print(len(stopped), flush=True)
    # A process that is killed meanwhile ends only when its traced threads are waited for.
    os.set_blocking(0, False)
    while sys.stdin.buffer.read(1) is None:
        try:
            os.waitpid(-1, os.WNOHANG | WAIT_ALL)
        except ChildProcessError:
            return
        time.sleep(0.05)
    for thread in stopped:
        try:
            ptrace(PTRACE_DETACH, thread)
        except OSError:
            pass  # It has ended.


main()
