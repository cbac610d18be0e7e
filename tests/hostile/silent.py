"""Starts a program in a network of its own, with a name server that never answers.

The loopback interface is brought up, port 53 is bound, and the program inherits the socket, which
nobody reads from.
"""

import fcntl
import os
import socket
import struct
import sys

SIOCSIFFLAGS = 0x8914
UP_AND_RUNNING = 0x1 | 0x40

name_server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(name_server, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", UP_AND_RUNNING))
name_server.bind(("127.0.0.1", 53))
name_server.set_inheritable(True)
os.execvp(sys.argv[1], sys.argv[1:])
